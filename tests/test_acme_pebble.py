"""The ACME client against Pebble, not ours: it refuses 5 % of good nonces and reuses half of the authorizations."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import secrets
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from otscert.acme.account import ExternalAccount
from otscert.acme.fault import Remedy
from otscert.acme.order import OrderStatus, new_order_payload
from otscert.ca import AcmeIssuer, CaError, IssuerSettings, new_account_key, open_issuer
from otscert.ops.pebble import Pebble, PebbleNotFoundError, find_pebble, start_pebble
from tests.scripted_ca.obtain import make_csr, obtain, prove, until_moved

MAX_IN_FLIGHT = 8  # Pebble dead-locks beyond, see design.md section 10
Start = Callable[..., Pebble]


@pytest.fixture(params=["pebble", "pebble-2.4"])
def start(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Start]:
    """Start this version of Pebble with `always_valid`, and end it after the test."""
    yield from _starter(request.param, tmp_path)


@pytest.fixture
def start_newest(tmp_path: Path) -> Iterator[Start]:
    """Start Pebble 2.10, for what 2.4 does not have."""
    yield from _starter("pebble", tmp_path)


def _starter(part: str, folder: Path) -> Iterator[Start]:
    try:
        binary = find_pebble(part=part)
    except PebbleNotFoundError as error:
        pytest.skip(str(error))
    started: list[Pebble] = []

    def begin(**settings: Any) -> Pebble:
        started.append(start_pebble(binary=binary, folder=folder, dns_server=None, always_valid=True, **settings))
        return started[-1]

    yield begin
    for pebble in started:
        pebble.stop()


def _issuer(pebble: Pebble, key: bytes | None = None, **settings: Any) -> AbstractAsyncContextManager[AcmeIssuer]:
    chosen = IssuerSettings(name="pebble", directory_url=pebble.directory_url, trust_file=pebble.api_trust, **settings)
    return open_issuer(chosen, key or new_account_key())


def _names(label: str) -> list[str]:
    return [f"{label}.boxes.example", f"*.{label}.boxes.example"]


async def test_forty_orders_eight_at_a_time_are_all_issued_for_their_own_keys(start: Start) -> None:
    slots = asyncio.Semaphore(MAX_IN_FLIGHT)

    async def one(issuer: AcmeIssuer, label: str) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        async with slots:
            chain = await obtain(issuer, _names(label), make_csr(_names(label), key))
        spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        assert chain.leaf.spki_sha256 == hashlib.sha256(spki).digest()
        assert chain.leaf.names == set(_names(label))

    async with _issuer(start()) as issuer:
        await asyncio.gather(*(one(issuer, f"box{number}") for number in range(40)))


async def test_the_profile_is_asked_for_where_it_is_offered(start_newest: Start) -> None:
    async with _issuer(start_newest(), profile="shortlived") as issuer:
        chain = await obtain(issuer, _names("a"), make_csr(_names("a")))
    assert (chain.leaf.not_after - chain.leaf.not_before).total_seconds() == pytest.approx(160 * 3600, abs=2)


async def test_an_unknown_profile_is_refused_for_good_and_never_asked_for(start_newest: Start) -> None:
    async with _issuer(start_newest()) as issuer:
        assert (await issuer.open_order(_names("a"), profile="antique")).profile == "tlsserver"
        payload = new_order_payload(_names("a"), profile="antique", replaces=None)
        with pytest.raises(CaError, match="invalidProfile") as caught:
            await issuer._post((await issuer.directory()).new_order, payload)
    assert caught.value.fault.remedy is Remedy.PERMANENT


async def test_retry_after_of_the_ca_is_read_in_both_its_forms(start_newest: Start) -> None:
    """Pebble chooses between seconds and HTTP-date at random: 2 s exactly, or what is left until a whole second."""
    seen: set[bool] = set()
    async with _issuer(start_newest(retry_after=(2, 2))) as issuer:
        for number in range(40):
            order = await prove(issuer, await issuer.open_order(_names(f"box{number}")))
            polled = await issuer.finalize(order, make_csr(_names(f"box{number}")))
            assert polled.order.status is OrderStatus.PROCESSING
            assert polled.retry_after_s is not None
            assert 0 <= polled.retry_after_s <= 2
            seen.add(polled.retry_after_s == 2)
            if len(seen) == 2:
                break
    assert seen == {True, False}


async def test_an_order_is_found_again_by_its_names_only_while_it_is_unfinished(start: Start) -> None:
    async with _issuer(start()) as issuer:
        for label in ("a", "b", "c", "d", "e"):  # more than one of Pebble's pages of three
            lost = await issuer.open_order(_names(label))
        found = await issuer.find_order(_names("e"))
        assert found is not None
        assert found.url == lost.url
        assert await issuer.find_order(_names("f")) is None
        ready = await prove(issuer, found)
        finished = await until_moved(
            issuer, await issuer.finalize(ready, make_csr(_names("e"))), frozenset({OrderStatus.PROCESSING})
        )
        assert finished.status is OrderStatus.VALID
        assert await issuer.find_order(_names("e")) is None


async def test_the_same_key_finds_the_same_account(start: Start) -> None:
    pebble, key = start(), new_account_key()
    async with _issuer(pebble, key) as one, _issuer(pebble, key) as two, _issuer(pebble) as other:
        urls = [(await issuer.account()).url for issuer in (one, two, other)]
    assert urls[0] == urls[1] != urls[2]


async def test_an_account_that_the_ca_lost_is_never_replaced_silently(start: Start) -> None:
    async with _issuer(start(), account_url="https://localhost/my-account/1") as issuer:
        with pytest.raises(CaError, match="does not know the account") as caught:
            await issuer.open_order(_names("a"))
    assert caught.value.fault.remedy is Remedy.ACCOUNT


async def test_an_external_account_is_bound(start: Start) -> None:
    mac_key = secrets.token_bytes(32)
    pebble = start(eab={"kid-1": base64.urlsafe_b64encode(mac_key).rstrip(b"=").decode()})
    async with _issuer(pebble, eab=ExternalAccount(kid="kid-1", mac_key=mac_key)) as issuer:
        assert (await issuer.account()).url


@pytest.mark.parametrize("eab", [None, ExternalAccount(kid="kid-1", mac_key=b"another key" * 4)])
async def test_a_missing_or_wrong_external_account_is_an_account_fault(
    start: Start, eab: ExternalAccount | None
) -> None:
    pebble = start(eab={"kid-1": base64.urlsafe_b64encode(bytes(32)).rstrip(b"=").decode()})
    async with _issuer(pebble, eab=eab) as issuer:
        with pytest.raises(CaError) as caught:
            await issuer.account()
    assert caught.value.fault.remedy is Remedy.ACCOUNT


async def test_the_chain_below_the_preferred_root_is_chosen(start: Start) -> None:
    pebble = start(alternate_roots=2)
    roots = [x509.load_pem_x509_certificate(pem.encode()) for pem in pebble.issuing_roots()]
    wanted = [str(root.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value) for root in roots]
    assert len(set(wanted)) == 3
    async with _issuer(pebble) as issuer:
        for number, root in enumerate(wanted):
            names = _names(f"box{number}")
            chain = await obtain(issuer, names, make_csr(names), preferred_root=root)
            assert chain.root == root


async def test_a_certificate_is_revoked_once(start: Start) -> None:
    async with _issuer(start()) as issuer:
        chain = await obtain(issuer, _names("a"), make_csr(_names("a")))
        await issuer.revoke(chain.ders[0], reason=1)
        with pytest.raises(CaError, match="alreadyRevoked"):
            await issuer.revoke(chain.ders[0], reason=1)


async def test_a_csr_with_another_name_is_refused_for_good(start: Start) -> None:
    async with _issuer(start()) as issuer:
        ready = await prove(issuer, await issuer.open_order(_names("a")))
        with pytest.raises(CaError) as caught:
            await issuer.finalize(ready, make_csr(_names("b")))
    assert caught.value.fault.remedy is Remedy.PERMANENT


async def test_an_order_that_is_not_ready_is_to_be_looked_at_again(start: Start) -> None:
    async with _issuer(start()) as issuer:
        order = await issuer.open_order(_names("a"))
        with pytest.raises(CaError) as caught:
            await issuer.finalize(order, make_csr(_names("a")))
    assert caught.value.fault.remedy is Remedy.POLL
