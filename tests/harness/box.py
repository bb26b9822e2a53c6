"""A box by hand: it speaks protocol v1 with the wire format alone, step by step, and can break any single rule.

It is not the agent: nothing is kept, nothing is retried. Every signed answer is verified as an agent must do it.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import ssl
import time
from base64 import b64decode
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from otscert_agent.state import HqMemory
from otscert_agent.trust import Pins, check_answer_chain
from otscert_agent.wire import b64, jws, kdf, messages, point
from otscert_agent.wire.errors import WireError
from otscert_agent.wire.keys import PublicKey, Signer
from otscert_agent.wire.problems import ProblemType
from tests.harness.hq import RunningHq

FINGERPRINT = "the hardware of one box"
_DROP = object()
DROP: Any = _DROP
"""A member with this value is left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """HQ's answer; `message` is its payload. `signed` ones were verified, `body` is what came over the wire."""

    status: int
    body: bytes
    signed: bool
    typ: str
    message: dict[str, Any]

    @property
    def problem(self) -> ProblemType:
        return ProblemType(self.message["type"])

    @property
    def detail(self) -> str:
        return str(self.message["detail"])

    def granted(self) -> dict[str, Any]:
        assert self.typ == messages.Granted.TYP, self.message
        return self.message


def random_signer() -> Signer:
    return Signer.from_seed(secrets.token_bytes(32))


def make_csr(scalar: int, names: list[str], **changes: Any) -> bytes:
    """A CSR in DER as the agent makes it; `changes`: `digest`, `subject`, `sans` (general names)."""
    key = ec.derive_private_key(scalar, ec.SECP256R1())
    sans = changes.get("sans", [x509.DNSName(name) for name in names])
    builder = x509.CertificateSigningRequestBuilder().subject_name(changes.get("subject", x509.Name([])))
    if sans:
        builder = builder.add_extension(x509.SubjectAlternativeName(sans), critical=False)
    digest = changes.get("digest", hashes.SHA256())
    return builder.sign(key, digest, ecdsa_deterministic=True).public_bytes(Encoding.DER)


@dataclass(slots=True, kw_only=True)
class Box:
    """One box at one HQ. Its steps send what is right, changed by what the caller says."""

    hq: RunningHq
    session: aiohttp.ClientSession
    model: str = "box"
    hello_key: Signer = field(default_factory=random_signer)
    identity: Signer = field(default_factory=random_signer)
    seqs: Counter[str] = field(default_factory=Counter)
    d0: int = 0
    r: int = 0
    challenge: dict[str, Any] = field(default_factory=dict)
    epoch_token: str = ""
    order_url: str = ""
    fingerprint: str = FINGERPRINT
    at: str = ""
    """Where it really calls, when HQ's public URL leads to several processes."""

    # ---- the envelope

    def sign(
        self,
        signer: Signer,
        typ: str,
        path: str,
        payload: Any,
        *,
        introduce: bool = False,
        header: dict[str, Any] | None = None,
    ) -> bytes:
        """One request; `header` replaces members (DROP leaves one out), `payload` None is empty."""
        thumbprint = signer.public.thumbprint()
        self.seqs[thumbprint] += 1
        name = {"jwk": signer.public.jwk()} if introduce else {"kid": thumbprint}
        members = {"typ": typ, **name, "url": self.hq.url + path, "seq": self.seqs[thumbprint], **(header or {})}
        kept = {member: value for member, value in members.items() if value is not _DROP}
        return jws.sign(signer, kept, _payload(payload))

    async def post(self, path: str, body: bytes) -> Reply:
        """Send bytes and verify what comes back as far as it is signed."""
        async with self.session.post((self.at or self.hq.url) + path, data=body) as response:
            answer, kind = await response.read(), response.content_type
            status = response.status
        if kind != jws.CONTENT_TYPE:
            assert kind == "application/problem+json"
            message = json.loads(answer)
            return Reply(status=status, body=answer, signed=False, typ=messages.Problem.TYP, message=message)
        typ, message = self.verify(body, answer)
        return Reply(status=status, body=answer, signed=True, typ=typ, message=message)

    def verify(self, request: bytes, answer: bytes) -> tuple[str, dict[str, Any]]:
        """Verify an answer with nothing but the pinned root and the request; returns typ and payload."""
        signed = jws.parse(answer)
        chain = [x509.load_der_x509_certificate(b64decode(each)) for each in signed.header["x5c"]]
        pins, said = Pins.parse(self.hq.roots_pem), signed.header["time"]
        check_answer_chain(chain, pins, time=said, memory=HqMemory(), build_epoch=int(time.time()) - 86_400)
        key = chain[0].public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        raw = key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        signed.verify(PublicKey.from_raw("ES256", raw))
        asked = jws.parse(request)
        assert signed.header["req"] == b64.encode(asked.digest())
        message = json.loads(signed.payload)
        if message.get("type") == ProblemType.BAD_SIGNATURE.value and not signed.header["aud"]:
            return signed.header["typ"], message  # whose message it was is what HQ could not verify
        assert signed.header["aud"] in _senders(asked.header)
        return signed.header["typ"], message

    # ---- the steps

    def hello_message(self, **changes: Any) -> dict[str, Any]:
        self.d0 = changes.pop("scalar", None) or point.scalar_from_bytes(secrets.token_bytes(48))
        members = {
            "model": self.model,
            "firmware": "1.0",
            "hardware_fingerprint": self.fingerprint,
            "nonce": b64.encode(secrets.token_bytes(16)),
            "d0": b64.encode(point.public_point(self.d0)),
            "build_epoch": 1_700_000_000,
            "report": {"source": "jitter", "crng": "ready"},
            "canary": hashlib.sha256(secrets.token_bytes(16)).hexdigest(),
            **changes,
        }
        return {member: value for member, value in members.items() if value is not _DROP}

    async def hello(
        self, *, header: dict[str, Any] | None = None, signer: Signer | None = None, **changes: Any
    ) -> Reply:
        signer = signer or self.hello_key
        body = self.sign(
            signer,
            messages.Hello.TYP,
            messages.PATH_HELLO,
            self.hello_message(**changes),
            introduce=signer is self.hello_key,
            header=header,
        )
        return self.take_challenge(await self.post(messages.PATH_HELLO, body))

    def take_challenge(self, reply: Reply) -> Reply:
        if reply.typ == messages.Challenge.TYP:
            self.challenge = reply.message
            self.r = point.parse_scalar(b64.decode(reply.message["contribution"]["open"]))
        return reply

    @property
    def names(self) -> list[str]:
        return list(self.challenge["names"])

    @property
    def label(self) -> str:
        return self.names[0].split(".")[0]

    @property
    def scalar(self) -> int:
        return (self.d0 + self.r) % point.N

    def binding(self, **changes: Any) -> dict[str, str]:
        signer = changes.pop("signer", self.hello_key)
        typ = changes.pop("typ", messages.TYP_BINDING)
        bound = {"txid": self.challenge["txid"], "thumbprint": self.identity.public.thumbprint(), **changes}
        members: dict[str, str] = json.loads(jws.sign(signer, {"typ": typ}, _payload(bound)))
        return members

    def enroll_message(self, **changes: Any) -> dict[str, Any]:
        members = {
            "txid": self.challenge["txid"],
            "csr": b64.encode(make_csr(self.scalar, self.names)),
            "addresses": ["192.168.1.20"],
            "binding": self.binding(),
            **changes,
        }
        return {member: value for member, value in members.items() if value is not _DROP}

    def sign_enroll(self, *, header: dict[str, Any] | None = None, introduce: bool = True, **changes: Any) -> bytes:
        message = self.enroll_message(**changes)
        typ = messages.Enroll.TYP
        return self.sign(self.identity, typ, messages.PATH_ENROLL, message, introduce=introduce, header=header)

    async def enroll(self, *, header: dict[str, Any] | None = None, **changes: Any) -> Reply:
        return self.take_granted(
            await self.post(messages.PATH_ENROLL, self.sign_enroll(header=header, **changes)),
        )

    def take_granted(self, reply: Reply) -> Reply:
        if reply.typ == messages.Granted.TYP:
            self.epoch_token, self.order_url = reply.message["epoch_token"], reply.message["order"]
        return reply

    def token_proof(self, token: bytes) -> str:
        txid = b64.decode(self.challenge["txid"])
        return b64.encode(kdf.token_proof(token, txid, self.identity.public.thumbprint()))

    async def admit(self, **changes: Any) -> Reply:
        """Hello and enrolment, both as they should be."""
        await self.hello()
        reply = await self.enroll(**changes)
        reply.granted()
        return reply

    @property
    def order_path(self) -> str:
        return self.order_url.removeprefix(self.hq.url)

    async def poll(self, *, path: str | None = None, signer: Signer | None = None) -> Reply:
        path = path or self.order_path
        return await self.post(path, self.sign(signer or self.identity, messages.TYP_ORDER, path, None))

    def checkin_message(self, **changes: Any) -> dict[str, Any]:
        members = {
            "epoch_token": self.epoch_token,
            "txid": b64.encode(secrets.token_bytes(16)),
            "hardware_fingerprint": self.fingerprint,
            "addresses": ["192.168.1.20"],
            "firmware": "1.0",
            "agent": "0.1",
            "canary": "00",
            **changes,
        }
        return {member: value for member, value in members.items() if value is not _DROP}

    async def check_in(self, *, signer: Signer | None = None, keep: bool = True, **changes: Any) -> Reply:
        """Check in; with `keep` False the answer is taken as lost."""
        message = self.checkin_message(**changes)
        body = self.sign(signer or self.identity, messages.CheckIn.TYP, messages.PATH_CHECKIN, message)
        reply = await self.post(messages.PATH_CHECKIN, body)
        if keep and reply.typ == messages.CheckInAnswer.TYP:
            self.epoch_token = reply.message["epoch_token"]
        return reply

    async def renew(self, **changes: Any) -> Reply:
        """Hello and enrolment with the identity key and the current epoch token."""
        hello = await self.hello(signer=self.identity, epoch_token=self.epoch_token)
        if hello.typ != messages.Challenge.TYP:
            return hello
        return await self.enroll(**({"binding": DROP, "epoch_token": self.epoch_token} | changes))


def _senders(header: dict[str, Any]) -> set[str]:
    """Who may be meant: the one key that is named; nobody where none is, or what is named is no key."""
    try:
        introduced = PublicKey.from_jwk(header["jwk"]).thumbprint() if "jwk" in header else None
    except WireError:
        introduced = ""
    named = header.get("kid")
    senders = {each for each in (introduced, named) if isinstance(each, str)}
    return senders if len(senders) == 1 and not ("jwk" in header and "kid" in header) else senders | {""}


def _payload(payload: Any) -> bytes:
    if payload is None:
        return b""
    return payload if isinstance(payload, bytes) else json.dumps(payload).encode()


def tls_context(hq: RunningHq) -> ssl.SSLContext:
    """Trusts HQ's root and nothing else."""
    return ssl.create_default_context(cadata=hq.roots_pem.decode())


@asynccontextmanager
async def open_session(hq: RunningHq) -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.TCPConnector(ssl=tls_context(hq))
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=40)) as session:
        yield session


def leaf_sha256(chain_pem: str) -> str:
    return x509.load_pem_x509_certificates(chain_pem.encode())[0].fingerprint(hashes.SHA256()).hex()
