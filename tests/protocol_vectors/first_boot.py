"""A whole first boot as bytes: the real HQ (its use cases on a real store, fixed dice and clock) and a scripted box.

The box uses the agent's own parts; only what would differ from machine to machine (hardware, kernel, time) is fixed.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import tempfile
from collections.abc import Sequence
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes

from otscert.api.device.routes import DeviceApi
from otscert.domain.addresses import AddressPolicy, IPAddress, Verdict
from otscert.domain.admission import Model, Naming, Policy
from otscert.domain.assurance import Contribution, Source
from otscert.domain.order import OrderEvent
from otscert.domain.quota import Quota
from otscert.pki.answers import AnswerSigner
from otscert.pki.seal import Seal
from otscert.service.admitting import Admitting
from otscert.service.checkin import CheckingIn
from otscert.service.context import Hq
from otscert.service.conversation import Answer, Conversation, Refused
from otscert.service.enroll import Enrolment
from otscert.service.hello import SayingHello
from otscert.service.key_checks import KeyChecks
from otscert.service.polling import OrderPolling
from otscert.service.signals import LocalSignals
from otscert.service.waiting import Waiting
from otscert.store.certificates import Certificate
from otscert.store.sqlite import SqliteStore
from otscert.store.transaction import Transaction
from otscert_agent import exchange, keys
from otscert_agent.wire import b64, jws, kdf, messages, point
from otscert_agent.wire.keys import Signer
from tests.protocol_vectors import certificates as pki
from tests.protocol_vectors import fixed

URL = "https://hq.example.com"
TOKEN = "tok-an-example-claim-token"  # noqa: S105 - an example's
CALLER = "198.51.100.7"


class _Clock:
    def now_ms(self) -> int:
        return pki.NOW_S * 1000


class _NoZone:
    """The zone's content is not on the wire."""

    def activate(self, label: str, addresses: Sequence[IPAddress], policy: AddressPolicy) -> tuple[Verdict, ...]:
        del label
        return tuple(policy.judge(address) for address in addresses)

    def withdraw(self, label: str) -> None:
        """Nothing answers DNS here."""

    def put_txt(self, label: str, value: str) -> None:
        """Nothing answers DNS here."""

    def drop_txt(self, label: str, value: str) -> None:
        """Nothing answers DNS here."""


def first_boot() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(_record(Path(folder)))


async def _record(folder: Path) -> dict[str, Any]:
    store = SqliteStore.open(folder / "hq.db")
    try:
        return await Story(store).tell()
    finally:
        await store.close()


class Story:
    """Box and HQ, and every message that went between them."""

    def __init__(self, store: SqliteStore) -> None:
        self.root = pki.root()
        self.store = store
        self.api = _api(store, AnswerSigner(pki.answer_leaf(self.root)))
        self.hello_key = fixed.ed25519("hello key")
        self.messages: list[dict[str, Any]] = []

    async def tell(self) -> dict[str, Any]:
        box = await self._introduce()
        granted = await self._enrol(box)
        await self._wait_for_certificate(granted, box)
        await self._check_in(granted)
        return {
            "hq_url": URL,
            "root_pem": pki.pem(self.root.certificate),
            "build_epoch": pki.NOW_S - 90 * 86400,
            "token": TOKEN,
            "box": box,
            "messages": self.messages,
        }

    async def _introduce(self) -> dict[str, Any]:
        d0 = fixed.scalar("d0 of the first boot")
        hello = messages.Hello(
            model="thermostat-2",
            firmware="1.4.0",
            hardware_fingerprint=hashlib.sha256(b"board 0042").hexdigest(),
            nonce=b64.encode(fixed.octets("nonce", 16)),
            d0=b64.encode(point.public_point(d0)),
            build_epoch=pki.NOW_S - 90 * 86400,
            report=messages.SourceReport(
                source="jitter", crng="ready", kernel="6.1.0", crng_ready_s=1.25, used=["kernel", "ids", "times"]
            ),
            canary=hashlib.sha256(fixed.octets("canary", 16)).hexdigest(),
            serial="SN-0042",
        )
        body = self._request(self.hello_key, messages.PATH_HELLO, hello, seq=1, introduce=True)
        challenge = messages.from_object(messages.Challenge, await self._send("hello", messages.PATH_HELLO, body))
        await self._send("hello again, byte for byte", messages.PATH_HELLO, body)
        txid, r = b64.decode(challenge.txid), b64.decode(challenge.contribution.open or "")
        id_seed = fixed.octets("id_seed of the first boot", 32)
        d = keys.combine(d0, point.parse_scalar(r))
        return {
            "hello_key_seed_hex": fixed.octets("hello key", 32).hex(),
            "d0_hex": point.encode_scalar(d0).hex(),
            "id_seed_hex": id_seed.hex(),
            "identity_seed_hex": kdf.identity_seed(id_seed, r, txid).hex(),
            "txid": challenge.txid,
            "r": challenge.contribution.open,
            "names": challenge.names,
            "d_hex": point.encode_scalar(d).hex(),
            "csr_hex": keys.csr(d, challenge.names).hex(),
        }

    async def _enrol(self, box: dict[str, Any]) -> messages.Granted:
        self.identity = Signer.from_seed(bytes.fromhex(box["identity_seed_hex"]))
        thumbprint, txid = self.identity.public.thumbprint(), b64.decode(box["txid"])
        head = {"typ": messages.TYP_BINDING, "kid": self.hello_key.public.thumbprint()}
        binding = messages.Binding(txid=box["txid"], thumbprint=thumbprint)
        enroll = messages.Enroll(
            txid=box["txid"],
            csr=b64.encode(bytes.fromhex(box["csr_hex"])),
            addresses=["192.168.1.20", "fd12:3456:789a::20"],
            token_proof=b64.encode(kdf.token_proof(TOKEN.encode(), txid, thumbprint)),
            binding=json.loads(jws.sign(self.hello_key, head, messages.to_json(binding))),
        )
        path = messages.PATH_ENROLL
        body = self._request(self.identity, path, enroll, seq=1, introduce=True)
        granted = messages.from_object(messages.Granted, await self._send("enroll", path, body))
        other = self._request(self.identity, path, enroll, seq=1, introduce=False)
        await self._send("another message with the seq of the last one", path, other)
        return granted

    async def _wait_for_certificate(self, granted: messages.Granted, box: dict[str, Any]) -> None:
        certificate, chain = pki.public_chain(bytes.fromhex(box["csr_hex"]))
        self.leaf_sha256 = certificate.fingerprint(hashes.SHA256()).hex()
        path = granted.order.removeprefix(URL)
        order_id = path.rsplit("/", 1)[-1]
        row = Certificate(
            sha256=self.leaf_sha256,
            device_id=granted.device_id,
            order_id=order_id,
            issuer="example",
            serial=f"{certificate.serial_number:x}",
            spki_sha256=b"",
            not_before_s=int(certificate.not_valid_before_utc.timestamp()),
            not_after_s=int(certificate.not_valid_after_utc.timestamp()),
            chain_pem=chain,
            issued_at_s=pki.NOW_S,
            served_at_s=None,
        )

        def issue(transaction: Transaction) -> None:
            order = transaction.orders.get(order_id)
            assert order is not None
            for event in (OrderEvent.CLAIM, OrderEvent.OPEN, OrderEvent.PUBLISH, OrderEvent.FINALIZE):
                order = transaction.orders.advance(order, event)
            transaction.orders.advance(order, OrderEvent.ISSUE, certificate_sha256=self.leaf_sha256)
            transaction.certificates.add(row)

        await self.store.write(issue)
        body = exchange.request(
            self.identity, typ=messages.TYP_ORDER, url=URL + path, seq=2, introduce=False, payload=b""
        )
        await self._send("order", path, body)

    async def _check_in(self, granted: messages.Granted) -> None:
        checkin = messages.CheckIn(
            epoch_token=granted.epoch_token,
            txid=b64.encode(fixed.octets("txid of the check-in", 16)),
            hardware_fingerprint=hashlib.sha256(b"board 0042").hexdigest(),
            addresses=["192.168.1.21"],
            firmware="1.4.0",
            agent="0.1.0",
            canary=hashlib.sha256(fixed.octets("canary", 16)).hexdigest(),
            served_sha256=self.leaf_sha256,
            resolver_filters=False,
        )
        path = messages.PATH_CHECKIN
        await self._send("check-in", path, self._request(self.identity, path, checkin, seq=3, introduce=False))
        late = self._request(self.identity, path, checkin, seq=2, introduce=False)
        await self._send("a message with a lower seq", path, late)

    def _request(self, signer: Signer, path: str, message: Any, *, seq: int, introduce: bool) -> bytes:
        payload = messages.to_json(message)
        return exchange.request(signer, typ=message.TYP, url=URL + path, seq=seq, introduce=introduce, payload=payload)

    async def _send(self, name: str, path: str, body: bytes) -> dict[str, Any]:
        answer = await respond(self.api, path, body)
        sent, got = jws.parse(body), jws.parse(answer.body)
        payload: dict[str, Any] = json.loads(got.payload)
        self.messages.append(
            {
                "name": name,
                "url": URL + path,
                "request": body.decode(),
                "request_header": sent.header,
                "request_payload": json.loads(sent.payload) if sent.payload else None,
                "request_digest_hex": sent.digest().hex(),
                "status": answer.status,
                "answer": answer.body.decode(),
                "answer_header": got.header,
                "answer_payload": payload,
            }
        )
        return payload


async def respond(api: DeviceApi, path: str, body: bytes) -> Answer:
    """What the device API answers to `body`; HTTP itself is not on this page."""
    kinds: dict[str, Any] = {
        messages.PATH_HELLO: (messages.Hello, api.hello),
        messages.PATH_ENROLL: (messages.Enroll, api.enroll),
        messages.PATH_CHECKIN: (messages.CheckIn, api.checkin),
    }
    try:
        if path.startswith(messages.PATH_ORDERS):
            read: Any = await api.conversation.read(
                body, path=path, typ=messages.TYP_ORDER, kind=None, address=CALLER, new_key=False
            )
            return await api.orders(read, path.removeprefix(messages.PATH_ORDERS))
        kind, use_case = kinds[path]
        new_key = path != messages.PATH_CHECKIN
        read = await api.conversation.read(body, path=path, typ=kind.TYP, kind=kind, address=CALLER, new_key=new_key)
        return await api.conversation.act(read, use_case)
    except Refused as refused:
        return refused.answer


def _api(store: SqliteStore, signer: AnswerSigner) -> DeviceApi:
    plenty = Quota(count=1000, period_s=60)
    model = Model(
        name="thermostat-2",
        policies=(Policy.TOKEN,),
        addresses=AddressPolicy(networks=(ip_network("192.168.0.0/16"), ip_network("fc00::/7"))),
        naming=Naming.READABLE,
        static_address=True,
        admissions_per_address=plenty,
        admissions_per_model=plenty,
        admissions_per_token=plenty,
        waiting_per_address=plenty,
        min_contribution=Contribution.OPEN,
        min_source=Source.STARVED,
        rekey_after_s=14 * 86400,
        allow_rsa=False,
        webhook=False,
        revoke_replaced=True,
    )
    hq = Hq(
        public_url=URL,
        zone="boxes.example.com",
        models={model.name: model},
        tokens={model.name: (TOKEN.encode(),)},
        issuers=("example",),
        checkin_s=21600,
        hellos_per_address=plenty,
        hellos_per_model=plenty,
        orders_per_device=plenty,
        open_admissions=plenty,
        stale_s=90 * 86400,
        secret=fixed.octets("HQ's secret", 32),
        clock=_Clock(),
        randomness=fixed.Dice("hq"),
    )
    seal, signals, zone = Seal(fixed.octets("store key", 32)), LocalSignals(), _NoZone()
    conversation = Conversation(hq=hq, store=store, signer=signer, seal=seal)
    return DeviceApi(
        conversation=conversation,
        hello=SayingHello(hq=hq),
        enroll=Enrolment(
            hq=hq,
            zone=zone,
            signals=signals,
            admitting=Admitting(hq=hq, waiting=Waiting(hq=hq, seal=seal, signals=signals)),
            keys=KeyChecks(store),
        ),
        checkin=CheckingIn(hq=hq, zone=zone, seal=seal, signals=signals),
        orders=OrderPolling(hq=hq, store=store, signals=signals, conversation=conversation, zone=zone),
        trusted_proxies=(),
    )
