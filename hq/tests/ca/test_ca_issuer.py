"""Every step of an order against the scripted CA, which verifies every signature, nonce and URL."""

from __future__ import annotations

import asyncio
import hashlib
import time
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from otscert.acme.account import ExternalAccount
from otscert.acme.fault import Remedy, of_outcome
from otscert.acme.order import OrderStatus
from otscert.acme.problem import ACME_URN
from otscert.ca import CaError, new_account_key
from tests.scripted_ca import Fate, Script, start_scripted_ca
from tests.scripted_ca.obtain import make_csr, obtain, prove, until_moved

from .conftest import OpenIssuer

NAMES = ["a.boxes.example", "*.a.boxes.example"]


async def test_an_order_takes_nine_requests_for_a_name_and_its_wildcard(issuer_of: OpenIssuer) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    async with start_scripted_ca() as ca, issuer_of(ca) as issuer:
        await obtain(issuer, ["first.example"], make_csr(["first.example"]))
        await asyncio.gather(
            *(issuer.order(ca.ledger.entries[0].order) for _ in range(2))
        )  # two nonces are in the pool
        before, entries = ca.ledger.requests.total(), len(ca.ledger.entries)
        chain = await obtain(issuer, NAMES, make_csr(NAMES, key))
        assert ca.ledger.requests.total() - before == 9
    spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert chain.leaf.spki_sha256 == hashlib.sha256(spki).digest()
    assert chain.leaf.names == set(NAMES)
    assert [entry.kind for entry in ca.ledger.entries[entries:]] == ["newOrder", "finalize", "issued"]
    assert ca.ledger.entries[-1].spki_sha256 == chain.leaf.spki_sha256.hex()


@pytest.mark.parametrize(
    ("offered", "got"), [(["classic", "tlsserver"], "tlsserver"), (["classic"], "classic"), ([], "")]
)
async def test_the_profile_is_asked_for_only_where_it_is_offered(
    issuer_of: OpenIssuer, offered: list[str], got: str
) -> None:
    script = Script(profiles=dict.fromkeys(offered, 86400))
    async with start_scripted_ca(script) as ca, issuer_of(ca, profile="tlsserver") as issuer:
        await issuer.open_order(NAMES)
        assert ca.ledger.entries[0].profile == got


async def test_strange_members_states_and_challenges_stop_nothing(issuer_of: OpenIssuer) -> None:
    script = Script(strange_members=True, location_on_finalize=False, processing_polls=3)
    async with start_scripted_ca(script) as ca, issuer_of(ca) as issuer:
        order = await prove(issuer, await issuer.open_order(NAMES))
        polled = await issuer.finalize(order, make_csr(NAMES))
        assert polled.order.status is OrderStatus.UNKNOWN
        assert polled.order.url == order.url
        assert (await issuer.chain(await until_moved(issuer, polled))).leaf.names == set(NAMES)


@pytest.mark.parametrize(
    ("header", "least_s", "most_s"), [("3", 3, 3), ("date:3", 2.9, 4.1), ("tomorrow", None, None), ("-1", None, None)]
)
async def test_retry_after_of_an_order_is_read_in_both_forms(
    issuer_of: OpenIssuer, header: str, least_s: float | None, most_s: float | None
) -> None:
    async with start_scripted_ca(Script(retry_after=header)) as ca, issuer_of(ca) as issuer:
        polled = await issuer.order((await issuer.open_order(NAMES)).url)
        if least_s is None or most_s is None:
            assert polled.retry_after_s is None
        else:
            assert polled.retry_after_s is not None
            assert least_s <= polled.retry_after_s <= most_s


async def test_a_caller_that_obeys_retry_after_asks_no_more_than_it_has_to(issuer_of: OpenIssuer) -> None:
    async with start_scripted_ca(Script(retry_after="1", processing_polls=1)) as ca, issuer_of(ca) as issuer:
        order = await prove(issuer, await issuer.open_order(NAMES))
        polls, start_s = ca.ledger.requests["order"], time.monotonic()
        await until_moved(issuer, await issuer.finalize(order, make_csr(NAMES)))
        assert ca.ledger.requests["order"] == polls + 1
        assert time.monotonic() - start_s >= 1.0


@pytest.mark.parametrize("header", ["60", "date:60"])
async def test_a_rate_limit_parks_with_the_cas_own_time(issuer_of: OpenIssuer, header: str) -> None:
    limit = Fate(on="newOrder", type="rateLimited", status=429, detail="too many orders", retry_after=header)
    async with start_scripted_ca(Script(fates=(limit,))) as ca, issuer_of(ca) as issuer:
        with pytest.raises(CaError, match="rateLimited: too many orders") as caught:
            await issuer.open_order(NAMES)
    assert caught.value.fault.remedy is Remedy.PARK
    assert caught.value.fault.retry_after_s == pytest.approx(60, abs=1.5)


async def test_subproblems_say_which_name_was_refused(issuer_of: OpenIssuer) -> None:
    parts = tuple(
        {"type": ACME_URN + kind, "detail": "no", "identifier": {"type": "dns", "value": name}}
        for kind, name in (("caa", NAMES[0]), ("rejectedIdentifier", NAMES[1]))
    )
    refusal = Fate(on="newOrder", type="compound", status=403, detail="two names", subproblems=parts)
    async with start_scripted_ca(Script(fates=(refusal,))) as ca, issuer_of(ca) as issuer:
        with pytest.raises(CaError) as caught:
            await issuer.open_order(NAMES)
    fault = caught.value.fault
    assert fault.remedy is Remedy.PERMANENT
    assert fault.problem is not None
    assert [part.identifier.value for part in fault.problem.subproblems if part.identifier] == NAMES
    assert NAMES[1] in fault.reason


async def test_a_failed_validation_shows_in_the_order_with_its_reason(issuer_of: OpenIssuer) -> None:
    parts = [{"type": ACME_URN + "dns", "detail": "SERVFAIL", "identifier": {"type": "dns", "value": NAMES[0]}}]
    problem: dict[str, Any] = {"type": ACME_URN + "dns", "detail": "no TXT", "subproblems": parts}
    async with start_scripted_ca(Script(validation_problem=problem)) as ca, issuer_of(ca) as issuer:
        order = await issuer.open_order(NAMES)
        for challenge in await issuer.challenges(order):
            await issuer.answer(challenge)
        seen = (await issuer.order(order.url)).order
        assert await issuer.challenges(seen) == (), "nothing of it is pending any more"
    assert seen.status is OrderStatus.INVALID
    fault = of_outcome(seen.error)
    assert fault.remedy is Remedy.DNS
    assert fault.reason == f"dns: no TXT; dns: SERVFAIL ({NAMES[0]})"


@pytest.mark.parametrize("names", [["other.boxes.example"], NAMES[:1], [*NAMES, "c.boxes.example"]])
async def test_a_csr_with_other_names_is_refused_for_good(issuer_of: OpenIssuer, names: list[str]) -> None:
    async with start_scripted_ca() as ca, issuer_of(ca) as issuer:
        order = await prove(issuer, await issuer.open_order(NAMES))
        with pytest.raises(CaError, match="badCSR") as caught:
            await issuer.finalize(order, make_csr(names))
        assert caught.value.fault.remedy is Remedy.PERMANENT
        assert ca.ledger.of("finalize") == []


async def test_finalizing_twice_is_refused_and_issues_once(issuer_of: OpenIssuer) -> None:
    async with start_scripted_ca() as ca, issuer_of(ca) as issuer:
        order = await prove(issuer, await issuer.open_order(NAMES))
        await issuer.finalize(order, make_csr(NAMES))
        with pytest.raises(CaError, match="orderNotReady") as caught:
            await issuer.finalize(order, make_csr(NAMES))
        assert caught.value.fault.remedy is Remedy.POLL
        assert len(ca.ledger.of("issued")) == 1


async def test_challenges_are_only_those_still_to_be_answered(issuer_of: OpenIssuer) -> None:
    async with start_scripted_ca() as ca, issuer_of(ca) as issuer:
        order = await issuer.open_order(NAMES)
        both = await issuer.challenges(order)
        assert {(each.name, each.wildcard) for each in both} == {(NAMES[0], False), (NAMES[0], True)}
        assert len({each.txt_value for each in both}) == 2
        await issuer.answer(both[0])
        assert await issuer.challenges(order) == (both[1],)


async def test_a_challenge_that_the_ca_is_working_on_is_not_to_be_answered_again(issuer_of: OpenIssuer) -> None:
    async with start_scripted_ca() as ca, issuer_of(ca) as issuer:
        order = await issuer.open_order(NAMES)
        ca.state.authorizations[0].answered = True  # it was, and the CA has not looked yet
        assert [each.wildcard for each in await issuer.challenges(order)] == [True]


async def test_reused_authorizations_leave_nothing_to_prove(issuer_of: OpenIssuer) -> None:
    async with start_scripted_ca(Script(reuse_authorizations=True)) as ca, issuer_of(ca) as issuer:
        await obtain(issuer, NAMES, make_csr(NAMES))
        again = await issuer.open_order(NAMES)
        assert again.status is OrderStatus.READY
        assert await issuer.challenges(again) == ()


async def test_a_ca_without_dns01_is_named_as_such(issuer_of: OpenIssuer) -> None:
    async with start_scripted_ca() as ca, issuer_of(ca) as issuer:
        order = await issuer.open_order(NAMES)
        ca.state.authorizations[0].token = ""  # such a challenge cannot be answered
        with pytest.raises(CaError, match=r"offers no dns-01 challenge.*it offers dns-01, http-01") as caught:
            await issuer.challenges(order)
    assert caught.value.fault.remedy is Remedy.PERMANENT


async def test_an_unfinished_order_is_found_in_the_list_over_several_pages(issuer_of: OpenIssuer) -> None:
    script = Script(list_orders=True, reuse_orders=False)
    async with start_scripted_ca(script) as ca, issuer_of(ca) as issuer:
        assert await issuer.find_order(NAMES) is None
        for number in range(12):
            await issuer.open_order([f"b{number}.boxes.example"])
        lost = await issuer.open_order(NAMES)
        for number in range(12):
            await issuer.open_order([f"c{number}.boxes.example"])
        found = await issuer.find_order([name.upper() for name in reversed(NAMES)])
        assert found is not None
        assert found.url == lost.url


async def test_an_order_of_the_list_that_is_gone_does_not_end_the_search(issuer_of: OpenIssuer) -> None:
    script = Script(list_orders=True, reuse_orders=False)
    async with start_scripted_ca(script) as ca, issuer_of(ca) as issuer:
        lost = await issuer.open_order(NAMES)
        await issuer.open_order(["gone.boxes.example"])
        ca.add_fates(Fate(on="order", status=404, type="malformed", name="gone.boxes.example"))
        found = await issuer.find_order(NAMES)
        assert found is not None
        assert found.url == lost.url


async def test_alternate_chains_are_chosen_by_their_root(issuer_of: OpenIssuer) -> None:
    async with start_scripted_ca(Script(alternates=2)) as ca, issuer_of(ca) as issuer:
        for root in (*ca.state.issuance.root_names, "Nobody's Root"):
            chain = await obtain(issuer, NAMES, make_csr(NAMES), preferred_root=root)
            assert chain.root == (root if root in ca.state.issuance.root_names else "Scripted Root")


async def test_a_certificate_is_revoked_once_and_only_for_known_reasons(issuer_of: OpenIssuer) -> None:
    async with start_scripted_ca() as ca, issuer_of(ca) as issuer:
        chain = await obtain(issuer, NAMES, make_csr(NAMES))
        with pytest.raises(CaError, match="badRevocationReason"):
            await issuer.revoke(chain.ders[0], reason=99)
        await issuer.revoke(chain.ders[0], reason=4)
        assert ca.ledger.of("revoked")[0].serial == f"{chain.leaf.serial:x}"
        with pytest.raises(CaError, match="alreadyRevoked") as caught:
            await issuer.revoke(chain.ders[0], reason=4)
        assert caught.value.fault.remedy is Remedy.PERMANENT


@pytest.mark.parametrize("rest", ["; policy=wildcard", "\u00e9", "x" * 700])
async def test_an_account_that_no_record_can_name_is_refused(issuer_of: OpenIssuer, rest: str) -> None:
    key = new_account_key()
    async with start_scripted_ca() as ca:
        async with issuer_of(ca, key) as issuer:
            await issuer.account()
        for account in ca.state.accounts.values():
            account.url += rest
        async with issuer_of(ca, key) as issuer:
            with pytest.raises(CaError, match="no CAA record can name"):
                await issuer.account()


async def test_one_key_is_one_account_however_often_it_connects(issuer_of: OpenIssuer) -> None:
    key = new_account_key()
    async with start_scripted_ca() as ca:
        async with issuer_of(ca, key) as issuer:
            accounts = await asyncio.gather(*(issuer.account() for _ in range(10)))
            assert ca.ledger.requests["newAccount"] == 2, "one look, one registration"
        async with issuer_of(ca, key) as issuer:
            accounts.append(await issuer.account())
            assert ca.ledger.requests["newAccount"] == 3
        assert len({account.url for account in accounts}) == len(ca.state.accounts) == 1


async def test_a_registration_that_failed_is_tried_again_at_the_next_request(issuer_of: OpenIssuer) -> None:
    down = Fate(on="newAccount", status=503, times=2)
    async with start_scripted_ca(Script(fates=(down,))) as ca, issuer_of(ca) as issuer:
        for _ in range(2):
            with pytest.raises(CaError):
                await issuer.open_order(NAMES)
        assert (await issuer.open_order(NAMES)).url


async def test_an_account_that_is_gone_is_reported_and_not_replaced(issuer_of: OpenIssuer) -> None:
    key = new_account_key()
    async with start_scripted_ca() as ca:
        async with issuer_of(ca, key) as issuer:
            url = (await issuer.account()).url
            ca.state.accounts.clear()
            ca.state.accounts_by_url.clear()
            with pytest.raises(CaError, match="accountDoesNotExist") as caught:
                await issuer.open_order(NAMES)
            assert caught.value.fault.remedy is Remedy.ACCOUNT
        async with issuer_of(ca, key, account_url=url) as issuer:
            with pytest.raises(CaError, match="does not know the account"):
                await issuer.open_order(NAMES)
        assert ca.state.accounts == {}


async def test_a_closed_account_is_not_used(issuer_of: OpenIssuer) -> None:
    key = new_account_key()
    async with start_scripted_ca() as ca:
        async with issuer_of(ca, key) as issuer:
            await issuer.account()
        next(iter(ca.state.accounts.values())).status = "deactivated"
        async with issuer_of(ca, key) as issuer:
            with pytest.raises(CaError, match="is deactivated") as caught:
                await issuer.account()
    assert caught.value.fault.remedy is Remedy.ACCOUNT


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
async def test_an_external_account_is_bound_with_each_algorithm(issuer_of: OpenIssuer, algorithm: str) -> None:
    eab = ExternalAccount.of("kid-1", "c2VjcmV0LXNlY3JldC1zZWNyZXQ", algorithm)
    script = Script(eab_keys={"kid-1": "c2VjcmV0LXNlY3JldC1zZWNyZXQ"})
    async with start_scripted_ca(script) as ca, issuer_of(ca, eab=eab) as issuer:
        await issuer.account()
        assert [account.eab_kid for account in ca.state.accounts.values()] == ["kid-1"]


@pytest.mark.parametrize(
    ("eab", "reason"),
    [
        (None, "external account binding only"),
        (ExternalAccount(kid="kid-1", mac_key=b"another key"), "does not verify"),
        (ExternalAccount(kid="kid-2", mac_key=b"key"), "not acceptable"),
    ],
)
async def test_a_missing_or_wrong_external_account_stops_the_account(
    issuer_of: OpenIssuer, eab: ExternalAccount | None, reason: str
) -> None:
    async with start_scripted_ca(Script(eab_keys={"kid-1": "YWJj"})) as ca, issuer_of(ca, eab=eab) as issuer:
        with pytest.raises(CaError, match=reason) as caught:
            await issuer.account()
        assert ca.state.accounts == {}
    assert caught.value.fault.remedy is Remedy.ACCOUNT


async def test_terms_that_nobody_agreed_to_are_shown(issuer_of: OpenIssuer) -> None:
    async with start_scripted_ca() as ca, issuer_of(ca, terms_agreed=False) as issuer:
        with pytest.raises(CaError, match=r"terms of service are not agreed to: https://\S+/terms"):
            await issuer.account()


async def test_replaces_is_sent_and_its_refusal_asks_for_an_order_without(issuer_of: OpenIssuer) -> None:
    taken = Fate(on="newOrder", type="alreadyReplaced", status=409, skip=2)
    unknown = Fate(on="newOrder", type="malformed", status=404, skip=3)
    async with start_scripted_ca(Script(fates=(taken, unknown))) as ca, issuer_of(ca) as issuer:
        replaced = (await obtain(issuer, NAMES, make_csr(NAMES))).leaf.ari_id
        order = await issuer.open_order(NAMES, replaces=replaced)
        assert order.replaces == ca.ledger.entries[-1].replaces == replaced
        for _ in range(2):
            with pytest.raises(CaError) as caught:
                await issuer.open_order(["b.boxes.example"], replaces=replaced)
            assert caught.value.fault.remedy is Remedy.WITHOUT_REPLACES
