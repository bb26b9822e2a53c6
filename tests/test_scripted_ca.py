"""The scripted CA judged by others: Certbot's `acme` as its client, OpenSSL for its chains, dnspython as its DNS."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import ssl
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import acme.client
import acme.messages
import dns.flags
import dns.message
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from josepy.jwa import ES256
from josepy.jwk import JWKEC

from otscert.acme.order import OrderStatus
from otscert.acme.polling import next_poll_s
from otscert.ca import AcmeIssuer, Dns01Challenge, IssuerSettings, new_account_key, open_issuer
from tests.scripted_ca import Fate, Script, ScriptedCa, start_scripted_ca
from tests.scripted_ca.dns_check import DnsCheckError, TxtResolver
from tests.scripted_ca.obtain import make_csr, obtain
from tests.scripted_ca.wire import Wire

NAMES = ["a.boxes.example", "*.a.boxes.example"]


@pytest.fixture
async def ca() -> AsyncIterator[ScriptedCa]:
    async with start_scripted_ca() as running:
        yield running


@asynccontextmanager
async def _issuer(ca: ScriptedCa, folder: Path) -> AsyncIterator[AcmeIssuer]:
    trust = folder / "https-root.pem"
    trust.write_text(ca.trust_pem)
    settings = IssuerSettings(name="scripted", directory_url=ca.directory_url, trust_file=trust)
    async with open_issuer(settings, new_account_key()) as issuer:
        yield issuer


# --- other clients -----------------------------------------------------------------------------------------------


def _certbots_client(ca: ScriptedCa, folder: Path) -> str:
    """Take an order from account to chain with Certbot's library; returns the chain."""
    trust = folder / "https-root.pem"
    trust.write_text(ca.trust_pem)
    key = JWKEC(key=ec.generate_private_key(ec.SECP256R1()))
    network = acme.client.ClientNetwork(key, alg=ES256, verify_ssl=str(trust))  # type: ignore[arg-type]  # handed on to requests, which takes a path
    try:
        directory = acme.client.ClientV2.get_directory(ca.directory_url, network)
        client = acme.client.ClientV2(directory, network)
        client.new_account(acme.messages.NewRegistration.from_data(terms_of_service_agreed=True))
        csr = ssl.DER_cert_to_PEM_cert(make_csr(NAMES)).replace("CERTIFICATE", "CERTIFICATE REQUEST")
        order = client.new_order(csr.encode())
        for authorization in order.authorizations:
            dns01 = next(each for each in authorization.body.challenges if each.typ == "dns-01")
            client.answer_challenge(dns01, dns01.response(key))
        return str(client.poll_and_finalize(order).fullchain_pem)
    finally:
        network.session.close()


async def test_certbots_library_gets_a_certificate_that_openssl_verifies(ca: ScriptedCa, tmp_path: Path) -> None:
    chain = await asyncio.to_thread(_certbots_client, ca, tmp_path)
    assert await _openssl_verifies(chain, ca.roots[0], tmp_path)


async def test_every_alternate_chain_leads_to_its_own_root_and_no_other(tmp_path: Path) -> None:
    async with start_scripted_ca(Script(alternates=1)) as ca, _issuer(ca, tmp_path) as issuer:
        for number, name in enumerate(ca.state.issuance.root_names):
            chain = await obtain(issuer, NAMES, make_csr(NAMES), preferred_root=name)
            assert await _openssl_verifies(chain.pem, ca.roots[number], tmp_path)
            assert not await _openssl_verifies(chain.pem, ca.roots[1 - number], tmp_path)


async def _openssl_verifies(chain: str, root: str, folder: Path) -> bool:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not on PATH: apt-get install openssl")
    paths = [folder / name for name in ("root.pem", "chain.pem")]
    for path, pem in zip(paths, (root, chain), strict=True):
        path.write_text(pem)
    arguments = ["-x509_strict", "-purpose", "sslserver", "-verify_hostname", "b.a.boxes.example"]
    process = await asyncio.create_subprocess_exec(
        *(openssl, "verify", *arguments, "-CAfile", str(paths[0]), "-untrusted", str(paths[1]), str(paths[1])),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    return await process.wait() == 0


# --- what the CA must refuse -------------------------------------------------------------------------------------


@pytest.fixture
async def wire(ca: ScriptedCa) -> Wire:
    wire = Wire(ca=ca)
    await wire.register()
    return wire


NEW_ORDER = {"identifiers": [{"type": "dns", "value": "a.boxes.example"}]}


async def test_a_nonce_is_good_once(wire: Wire) -> None:
    nonce = wire.ca.state.nonces.issue()
    assert (await wire.ask("new-order", NEW_ORDER, nonce=nonce))[0] == 201
    status, problem = await wire.ask("new-order", NEW_ORDER, nonce=nonce)
    assert (status, problem["type"]) == (400, "urn:ietf:params:acme:error:badNonce")


@pytest.mark.parametrize(
    ("changed", "kind"),
    [
        ({"nonce": "invented"}, "badNonce"),
        ({"url": "https://localhost/new-order"}, "unauthorized"),
        ({"kid": "https://localhost/acct/99"}, "accountDoesNotExist"),
        ({"body": b"{}"}, "malformed"),
        ({"body": b"<html>"}, "malformed"),
        ({"body": b'{"protected":"e30","payload":"","signature":"","header":{}}'}, "malformed"),
    ],
)
async def test_requests_that_break_section_6_are_refused(wire: Wire, changed: dict[str, Any], kind: str) -> None:
    status, problem = await wire.ask("new-order", NEW_ORDER, **changed)
    assert status >= 400
    assert problem["type"].endswith(f":{kind}")


@pytest.mark.parametrize("verify_all", [True, False])
async def test_a_signature_by_another_key_opens_no_order(wire: Wire, *, verify_all: bool) -> None:
    wire.ca.follow(Script(verify_all=verify_all))
    stranger = Wire(ca=wire.ca)
    status, problem = await stranger.ask("new-order", NEW_ORDER)
    assert (status, problem["detail"]) == (400, "the signature does not verify")
    status, _ = await stranger.ask("acct/0", None)
    assert status == (400 if verify_all else 200)


async def test_nobody_sees_another_accounts_order(wire: Wire) -> None:
    _, order = await wire.ask("new-order", NEW_ORDER)
    other = Wire(ca=wire.ca)
    await other.register()
    for path in ("order/0", order["authorizations"][0].removeprefix(wire.url(""))):
        status, _ = await other.ask(path, None, kid=wire.url("acct/1"))
        assert status == 403


@pytest.mark.parametrize(
    ("identifiers", "kind"),
    [
        ([], "malformed"),
        ("a.example", "malformed"),
        ([{"type": "dns", "value": f"n{n}.example"} for n in range(26)], "malformed"),
        ([{"type": "ip", "value": "192.0.2.1"}], "unsupportedIdentifier"),
        ([{"type": "dns", "value": "localhost"}], "rejectedIdentifier"),
    ],
)
async def test_orders_for_what_a_public_ca_does_not_certify_are_refused(
    wire: Wire, identifiers: object, kind: str
) -> None:
    status, problem = await wire.ask("new-order", {"identifiers": identifiers})
    assert status == 400
    assert problem["type"].endswith(f":{kind}")


async def test_an_unfinished_order_for_the_same_names_and_profile_is_given_again(
    ca: ScriptedCa, tmp_path: Path
) -> None:
    async with _issuer(ca, tmp_path) as issuer:
        first = await issuer.open_order(NAMES)
        assert (await issuer.open_order(NAMES[::-1])).url == first.url
        assert (await issuer.open_order(NAMES, profile="shortlived")).url != first.url
        assert (await issuer.open_order(NAMES[:1])).url != first.url
        await obtain(issuer, NAMES, make_csr(NAMES))
        assert (await issuer.open_order(NAMES)).url != first.url, "a finalized order is not given again"
    assert [entry.kind for entry in ca.ledger.entries[:4]] == ["newOrder", "reusedOrder", "newOrder", "newOrder"]


# --- validation by DNS -------------------------------------------------------------------------------------------


class TxtServer(asyncio.DatagramProtocol):
    """A DNS server of dnspython's codec: TXT records by name, or a fixed rcode, or silence."""

    def __init__(self) -> None:
        self.records: dict[str, list[str]] = {}
        self.rcode = dns.rcode.NOERROR
        self.truncate = False
        self.asked: list[str] = []
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)  # which asyncio's own is not a subclass of

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.closed.set_result(None)

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        query = dns.message.from_wire(data)
        answer = dns.message.make_response(query)
        name = query.question[0].name
        self.asked.append(str(name).rstrip("."))
        values = self.records.get(self.asked[-1], [])
        if values:
            quoted = [f'"{value[:20]}" "{value[20:]}"' for value in values]  # several strings are one value
            answer.answer = [dns.rrset.from_text(name, 10, dns.rdataclass.IN, dns.rdatatype.TXT, *quoted)]
        answer.set_rcode(self.rcode)
        answer.flags |= dns.flags.TC if self.truncate else 0
        self.transport.sendto(answer.to_wire(), addr)

    async def publish(self, challenges: Any) -> None:
        for challenge in challenges:
            assert isinstance(challenge, Dns01Challenge)
            self.records.setdefault(f"_acme-challenge.{challenge.name}", []).append(challenge.txt_value)


@asynccontextmanager
async def _txt_server() -> AsyncIterator[tuple[TxtServer, tuple[str, int]]]:
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(TxtServer, local_addr=("127.0.0.1", 0))
    try:
        yield server, transport.get_extra_info("sockname")[:2]
    finally:
        transport.close()
        await server.closed


async def test_the_ca_looks_for_both_values_at_one_name(tmp_path: Path) -> None:
    async with _txt_server() as (server, address), start_scripted_ca(dns_server=address) as ca:
        server.records["_acme-challenge.a.boxes.example"] = ["stale value"]
        async with _issuer(ca, tmp_path) as issuer:
            chain = await obtain(issuer, NAMES, make_csr(NAMES), publish=server.publish)
        assert chain.leaf.names == set(NAMES)
        assert server.asked == ["_acme-challenge.a.boxes.example"] * 2


async def _error_of_unproved(ca: ScriptedCa, folder: Path) -> dict[str, Any]:
    async with _issuer(ca, folder) as issuer:
        order = await issuer.open_order(NAMES)
        for challenge in await issuer.challenges(order):
            await issuer.answer(challenge)
        for attempt in range(20):
            await asyncio.sleep(next_poll_s(attempt, None))
            if (await issuer.order(order.url)).order.status is OrderStatus.INVALID:
                break
    error = ca.state.orders[0].error
    assert error is not None
    return error


@pytest.mark.parametrize(("rcode", "kind"), [(0, "unauthorized"), (3, "unauthorized"), (2, "dns"), (5, "dns")])
async def test_without_the_right_txt_the_order_becomes_invalid(rcode: int, kind: str, tmp_path: Path) -> None:
    async with _txt_server() as (server, address), start_scripted_ca(dns_server=address) as ca:
        server.records["_acme-challenge.a.boxes.example"] = ["wrong"] if rcode == 0 else []
        server.rcode = dns.rcode.Rcode(rcode)
        error = await _error_of_unproved(ca, tmp_path)
    assert error["type"].endswith(f":{kind}")


async def test_an_answer_that_is_truncated_or_from_nobody_is_a_dns_error() -> None:
    async with _txt_server() as (server, address):
        server.truncate = True
        resolver = await TxtResolver.open(*address)
        with pytest.raises(DnsCheckError, match="truncated"):
            await resolver.txt("a.example")
        await resolver.aclose()
    resolver = await TxtResolver.open(*address)  # nobody listens there any more
    with pytest.raises(DnsCheckError, match="cannot be reached"):
        await resolver.txt("a.example")
    asking = asyncio.create_task(resolver.txt("a.example", patience_s=20))
    assert not (await asyncio.wait({asking}, timeout=0.3))[0]
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(TxtServer, local_addr=address)  # and there it is again
    assert await asking == []
    transport.close()
    await resolver.aclose()


# --- its life ----------------------------------------------------------------------------------------------------


async def test_as_a_process_it_says_when_it_is_ready_and_shows_its_ledger(tmp_path: Path) -> None:
    script = json.dumps({"processing_polls": 0, "fates": [{"on": "newOrder", "status": 503}]})
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.scripted_ca", "--json", "--folder", str(tmp_path / "ca"), "--script", script),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        ready = json.loads(await process.stdout.readline())
        assert (ready["kind"], ready["pid"]) == ("ready", process.pid)
        settings = IssuerSettings(
            name="scripted", directory_url=ready["directory_url"], trust_file=Path(ready["trust_file"])
        )
        async with open_issuer(settings, new_account_key()) as issuer:
            with pytest.raises(Exception, match="serverInternal: as scripted"):
                await issuer.open_order(NAMES)
            chain = await obtain(issuer, NAMES, make_csr(NAMES))
        ledger = await asyncio.to_thread(_ledger, ready)
        assert [entry["kind"] for entry in ledger["entries"]] == ["newOrder", "finalize", "issued"]
        assert ledger["requests"]["newOrder"] == 2
        roots = await asyncio.to_thread(Path(ready["issuing_roots_file"]).read_text)
        assert await _openssl_verifies(chain.pem, roots, tmp_path)
    finally:
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 10) == 0


def _ledger(ready: dict[str, str]) -> Any:
    trust = ssl.create_default_context(cafile=ready["trust_file"])
    with urllib.request.urlopen(f"{ready['management_url']}/ledger", context=trust) as answer:  # noqa: S310 - our own https server
        return json.loads(answer.read())


async def test_a_fate_meets_the_requests_it_names_and_no_other(ca: ScriptedCa, tmp_path: Path) -> None:
    ca.follow(Script(fates=(Fate(on="order", status=500, skip=1, times=2),)))
    async with _issuer(ca, tmp_path) as issuer:
        order = await issuer.open_order(NAMES)
        seen = await asyncio.gather(*(issuer.order(order.url) for _ in range(5)), return_exceptions=True)
    assert sorted(isinstance(each, Exception) for each in seen) == [False, False, False, True, True]


async def test_three_hundred_orders_at_once_are_all_issued_once(ca: ScriptedCa, tmp_path: Path) -> None:
    names = [f"box{number}.boxes.example" for number in range(300)]
    async with _issuer(ca, tmp_path) as issuer:
        await asyncio.gather(*(obtain(issuer, [name], make_csr([name])) for name in names))
    assert sorted(entry.names[0] for entry in ca.ledger.of("issued")) == sorted(names)
    assert len({entry.spki_sha256 for entry in ca.ledger.of("issued")}) == 300
