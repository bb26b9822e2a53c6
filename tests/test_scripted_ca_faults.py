"""The scripted CA's misbehaviour, one switch after the other: that it does what it was told, and nothing beside it."""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
import http.client
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from otscert.acme.account import ExternalAccount
from otscert.ca import CaError, IssuerSettings, new_account_key, open_issuer
from otscert_agent.wire import b64
from tests.scripted_ca import Fate, Script, ScriptedCa, start_scripted_ca
from tests.scripted_ca.obtain import make_csr, obtain
from tests.scripted_ca.wire import Wire, jws

NAMES = ["a.boxes.example", "*.a.boxes.example"]


@pytest.fixture
async def ca() -> AsyncIterator[ScriptedCa]:
    async with start_scripted_ca() as running:
        yield running


@pytest.fixture
async def wire(ca: ScriptedCa) -> Wire:
    wire = Wire(ca=ca)
    await wire.register()
    return wire


# --- answers -----------------------------------------------------------------------------------------------------


async def test_a_share_of_all_requests_meets_its_fate_and_the_dice_fall_alike_in_every_run(wire: Wire) -> None:
    async def statuses(seed: int) -> list[int]:
        fate = Fate(on="*", status=503, share=0.5, times=None)
        wire.ca.follow(Script(seed=seed, fates=(fate,)))
        return [(await wire.get("directory"))[0] for _ in range(30)]

    first = await statuses(7)
    assert 5 < first.count(503) < 25
    assert await statuses(7) == first
    assert await statuses(8) != first


async def test_a_fate_for_every_resource_counts_them_together(wire: Wire) -> None:
    wire.ca.follow(Script(fates=(Fate(on="*", status=500, skip=1, times=2),)))
    seen = [(await wire.get("directory"))[0], (await wire.ask("acct/0", None))[0]]
    assert [*seen, (await wire.get("directory"))[0], (await wire.get("directory"))[0]] == [200, 500, 500, 200]


async def test_a_fate_may_be_for_the_orders_of_one_name_and_come_later_than_the_script(wire: Wire) -> None:
    wire.ca.add_fates(Fate(on="newOrder", status=503, name="a.boxes.example"))
    assert (await wire.order(["b.boxes.example"]))[0] == 201
    assert [(await wire.order(NAMES))[0] for _ in range(2)] == [503, 201]
    wire.ca.add_fates(*(Fate(on=on, status=418, name=NAMES[0]) for on in ("order", "authorization", "challenge")))
    for path, payload in (("order/1", None), ("authz/2", None), ("chall/2/dns-01", {})):
        assert [(await wire.ask(path, payload))[0] for _ in range(2)] == [418, 200]


async def test_an_order_may_become_invalid_at_any_request(wire: Wire) -> None:
    await wire.order(NAMES)
    wire.ca.add_fates(Fate(on="finalize", form="invalid", type="caa", detail="as scripted", name=NAMES[0]))
    assert (await wire.ask("finalize/0", {"csr": ""}))[0] == 403
    order = (await wire.ask("order/0", None))[1]
    assert (order["status"], order["error"]["type"]) == ("invalid", "urn:ietf:params:acme:error:caa")
    assert (await wire.order(NAMES))[1]["status"] == "pending", "and is not given again"


async def test_an_answer_may_end_after_its_headers(wire: Wire) -> None:
    wire.ca.follow(Script(fates=(Fate(on="newOrder", form="headless"),)))
    with pytest.raises(http.client.IncompleteRead):
        await wire.order(NAMES)
    assert len(wire.ca.state.orders) == 1, "the request took effect"


async def test_an_answer_may_come_late_or_drop_by_drop(wire: Wire) -> None:
    wire.ca.follow(Script(fates=(Fate(on="account", form="late", delay_s=0.2),)))
    began_s = time.monotonic()
    assert (await wire.ask("acct/0", None))[0] == 200
    assert time.monotonic() - began_s >= 0.2
    wire.ca.follow(Script(fates=(Fate(on="newNonce", form="drip"),)))
    began_s = time.monotonic()
    assert (await wire.get("new-nonce"))[0] == 204
    assert time.monotonic() - began_s >= 1, "about a hundred bytes at 20 ms each"


async def test_an_answer_may_never_come_though_the_request_took_effect(wire: Wire) -> None:
    wire.ca.follow(Script(fates=(Fate(on="newOrder", form="hold", acts=True),)))
    asking = asyncio.create_task(wire.order(NAMES))
    done, _ = await asyncio.wait({asking}, timeout=0.5)
    assert not done
    assert wire.ca.state.held.is_set()
    assert len(wire.ca.state.orders) == 1
    await wire.ca.aclose()
    await asyncio.gather(asking, return_exceptions=True)


async def test_an_order_may_be_processing_for_long() -> None:
    now_s = [1_800_000_000.0]
    async with start_scripted_ca(Script(processing_polls=0, processing_s=90), clock=lambda: now_s[0]) as ca:
        slow = Wire(ca=ca)
        await slow.register()
        await slow.issue(NAMES)
        for ahead_s, status in ((0, "processing"), (89, "processing"), (90, "valid")):
            now_s[0] = 1_800_000_000.0 + ahead_s
            assert (await slow.ask("order/0", None))[1]["status"] == status


async def test_in_a_nonce_storm_some_good_nonces_are_refused(wire: Wire) -> None:
    async def refused(share: float) -> int:
        wire.ca.follow(Script(reject_nonce_share=share, seed=3))
        answers = [await wire.ask("acct/0", None) for _ in range(30)]
        return sum(answer.get("type", "").endswith(":badNonce") for _, answer in answers)

    assert await refused(0.0) == 0
    assert 8 < await refused(0.5) < 22
    assert await refused(1.0) == 30


# --- accounts ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["revoked", "deactivated"])
async def test_a_closed_account_may_do_nothing(wire: Wire, status: Any) -> None:
    wire.ca.follow(Script(accounts=status))
    for path in ("acct/0", "new-order"):
        code, problem = await wire.ask(path, None)
        assert (code, problem["type"]) == (403, "urn:ietf:params:acme:error:unauthorized")
        assert problem["detail"].endswith(f'Account is not valid, has status "{status}"')


async def test_a_paused_account_may_not_order_and_is_shown_where_to_go(wire: Wire) -> None:
    wire.ca.follow(Script(accounts="paused"))
    assert (await wire.ask("acct/0", None))[0] == 200
    status, problem = await wire.order(NAMES)
    assert (status, problem["type"]) == (429, "urn:ietf:params:acme:error:rateLimited")
    assert "temporarily prevented from requesting certificates for a.boxes.example and" in problem["detail"]
    assert re.search(r"Please visit: https://localhost:\d+/sfe/v1/unpause\?jwt=\S+$", problem["detail"])
    assert "Retry-After" not in wire.headers, "time alone does not help"


async def test_changed_terms_want_a_person(wire: Wire) -> None:
    before = (await wire.get("directory"))[1]["meta"]["termsOfService"]
    wire.ca.follow(Script(terms_changed=True))
    status, problem = await wire.order(NAMES)
    assert (status, problem["type"]) == (403, "urn:ietf:params:acme:error:userActionRequired")
    assert problem["instance"].startswith(wire.url("agreement/"))
    terms = (await wire.get("directory"))[1]["meta"]["termsOfService"]
    assert terms != before
    await wire.order(NAMES)
    assert wire.headers["Link"] == f'<{terms}>;rel="terms-of-service"'


async def test_a_forgotten_account_does_not_exist(wire: Wire) -> None:
    assert await wire.manage("forget-accounts") == 204
    assert (await wire.order(NAMES))[1]["type"].endswith(":accountDoesNotExist")
    found = await wire.ask("new-account", {"onlyReturnExisting": True}, kid=None)
    assert found[1]["type"].endswith(":accountDoesNotExist")


# --- keyChange ---------------------------------------------------------------------------------------------------


def _rollover(wire: Wire, new: Wire, **changed: Any) -> dict[str, Any]:
    """The inner JWS; `changed` replaces its signer or members of its header and payload."""
    said = {"account": wire.url("acct/0"), "oldKey": dict(wire.key.jwk)} | changed.get("said", {})
    header = {"alg": "ES256", "jwk": dict(new.key.jwk), "url": wire.url("key-change")} | changed.get("header", {})
    return jws(changed.get("signer", new).private, header, said)


async def test_an_account_gets_another_key_when_both_sign(wire: Wire) -> None:
    new = Wire(ca=wire.ca)
    assert (await wire.ask("key-change", _rollover(wire, new)))[0] == 200
    assert (await wire.ask("acct/0", None))[0] == 400, "the old key signs nothing any more"
    assert (await new.ask("acct/0", None))[0] == 200
    assert (await new.ask("new-account", {"onlyReturnExisting": True}, kid=None))[0] == 200
    assert (await new.issue(NAMES)) in wire.ca.state.by_ari_id, "challenges are proved with the new key"
    assert wire.ca.ledger.entries[0].kind == "keyChange"


@pytest.mark.parametrize(
    "changed",
    [
        {"said": {"account": "https://localhost/acct/9"}},
        {"said": {"oldKey": None}},
        {"header": {"url": "https://localhost/elsewhere"}},
        {"header": {"nonce": "x"}},
        {"header": {"kid": "https://localhost/acct/0"}},
    ],
)
async def test_a_key_change_that_says_something_else_is_refused(wire: Wire, changed: dict[str, Any]) -> None:
    status, problem = await wire.ask("key-change", _rollover(wire, Wire(ca=wire.ca), **changed))
    assert (status, problem["type"]) == (400, "urn:ietf:params:acme:error:malformed")
    assert (await wire.ask("acct/0", None))[0] == 200


async def test_a_key_change_that_the_new_key_did_not_sign_is_refused(wire: Wire) -> None:
    status, _ = await wire.ask("key-change", _rollover(wire, Wire(ca=wire.ca), signer=wire))
    assert status == 400
    status, _ = await wire.ask("key-change", _rollover(wire, Wire(ca=wire.ca), said={"oldKey": _other_jwk(wire)}))
    assert status == 400


async def test_a_key_that_another_account_has_is_a_conflict_which_names_it(wire: Wire) -> None:
    other = Wire(ca=wire.ca, number=1)
    await other.register()
    status, _ = await wire.ask("key-change", _rollover(wire, other))
    assert (status, wire.headers["Location"]) == (409, wire.url("acct/1"))


def _other_jwk(wire: Wire) -> dict[str, str]:
    return dict(Wire(ca=wire.ca).key.jwk)


# --- certificates, directory, windows -----------------------------------------------------------------------------


async def test_a_certificate_may_be_for_another_key_or_other_names(wire: Wire) -> None:
    for mistake in ("another key", "other names"):
        wire.ca.follow(Script(mistake=mistake, processing_polls=0))
        await wire.issue(NAMES)
    other_key, other_names = (issued.certificate for issued in wire.ca.state.issued)
    assert _names(other_key) == set(NAMES)
    assert _names(other_names) == {"not-a.boxes.example"}
    keys = [entry.spki_sha256 for entry in wire.ca.ledger.of("issued")]
    assert keys[0] != _spki_sha256(other_key)
    assert keys[1] == _spki_sha256(other_names)


def _names(certificate: x509.Certificate) -> set[str]:
    san = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return set(san.get_values_for_type(x509.DNSName))


def _spki_sha256(certificate: x509.Certificate) -> str:
    spki = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(spki).hexdigest()


async def test_a_directory_may_lack_members(wire: Wire) -> None:
    wire.ca.follow(Script(leave_out=("newOrder", "keyChange")))
    assert {"newOrder", "keyChange"}.isdisjoint((await wire.get("directory"))[1])


async def test_windows_move_for_one_certificate_or_for_all(wire: Wire) -> None:
    wire.ca.follow(Script(processing_polls=0))
    first, second = await wire.issue(NAMES), await wire.issue(NAMES[:1])
    own = await _window(wire, second)
    assert await wire.manage("window", {"start_in_s": -10, "end_in_s": 10, "ari_id": first}) == 204
    now = dt.datetime.now(dt.UTC).isoformat()
    start, end = await _window(wire, first)
    assert start < now < end
    assert await _window(wire, second) == own
    wire.ca.move_window(50 * 365 * 86_400, -1)
    start, end = await _window(wire, second)
    assert end < now < start, "nonsense is told as it was scripted"
    assert await wire.manage("window", {"start": 1}) == 400


async def _window(wire: Wire, ari_id: str) -> tuple[str, str]:
    suggested = (await wire.get(f"renewal-info/{ari_id}"))[1]["suggestedWindow"]
    return suggested["start"], suggested["end"]


async def test_the_account_lists_its_orders_only_where_the_script_says_so(wire: Wire) -> None:
    await wire.order(NAMES)
    assert "orders" not in (await wire.ask("acct/0", None))[1]
    wire.ca.follow(Script(list_orders=True))
    assert (await wire.ask("acct/0", None))[1]["orders"] == wire.url("orders/0")
    assert (await wire.ask("orders/0", None))[1]["orders"] == [wire.url("order/0")]


# --- bindings, and a second CA -------------------------------------------------------------------------------------

MAC_KEY = b64.encode(b"k" * 32)


@pytest.mark.parametrize(
    ("kid", "mac_key", "kind"),
    [
        ("kid-1", MAC_KEY, ""),
        ("kid-2", MAC_KEY, "unauthorized"),
        ("kid-1", b64.encode(b"w" * 32), "unauthorized"),
        (None, None, "externalAccountRequired"),
    ],
)
async def test_an_external_binding_is_required_and_checked(
    ca: ScriptedCa, kid: str | None, mac_key: str | None, kind: str
) -> None:
    ca.follow(Script(eab_keys={"kid-1": MAC_KEY}))
    wire = Wire(ca=ca)
    members: dict[str, Any] = {"termsOfServiceAgreed": True}
    if kid is not None and mac_key is not None:
        binding = ExternalAccount.of(kid, mac_key).binding(wire.key.jwk, wire.url("new-account"))
        members["externalAccountBinding"] = binding
    status, answer = await wire.ask("new-account", members, kid=None)
    if kind:
        assert (status, answer["type"]) == (403, f"urn:ietf:params:acme:error:{kind}")
    else:
        assert next(iter(ca.state.accounts.values())).eab_kid == kid


def _settings(ca: ScriptedCa, folder: Path) -> IssuerSettings:
    trust = folder / f"{ca.state.base_url.rpartition(':')[2]}.pem"
    trust.write_text(ca.trust_pem)
    return IssuerSettings(name="scripted", directory_url=ca.directory_url, trust_file=trust)


async def test_two_cas_at_once_know_nothing_of_each_other(tmp_path: Path) -> None:
    async with start_scripted_ca() as first, start_scripted_ca() as second:
        key = new_account_key()
        first.follow(Script(fates=(Fate(on="newOrder", status=503, times=None),)))
        async with (
            open_issuer(_settings(first, tmp_path), key) as down,
            open_issuer(_settings(second, tmp_path), key) as up,
        ):
            with pytest.raises(CaError, match="as scripted"):
                await down.open_order(NAMES)
            chain = await obtain(up, NAMES, make_csr(NAMES))
        assert chain.leaf.names == set(NAMES)
        assert not first.ledger.entries
        assert first.roots[0] != second.roots[0]
