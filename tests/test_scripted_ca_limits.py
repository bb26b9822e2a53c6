"""The scripted CA's rate limits: what counts, who is exempt, what a refusal says. Source: acme-dns-facts, 1.1."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest

from tests.scripted_ca import LETS_ENCRYPT, Limits, Script, start_scripted_ca
from tests.scripted_ca.buckets import TokenBuckets
from tests.scripted_ca.limits import registered_domain
from tests.scripted_ca.wire import Wire

NAMES = ["a.boxes.example", "*.a.boxes.example"]
NOON_S = 1_800_000_000.0
DAY_S = 86_400


class Clock:
    def __init__(self) -> None:
        self.now_s = NOON_S

    def __call__(self) -> float:
        return self.now_s


class Limited(Wire):
    """One account at a CA with limits, and the CA's clock."""

    clock: Clock


Open = Callable[[Script], AbstractAsyncContextManager[Limited]]


@asynccontextmanager
async def _limited(script: Script) -> AsyncIterator[Limited]:
    clock = Clock()
    async with start_scripted_ca(script, clock=clock) as ca:
        wire = Limited(ca=ca)
        wire.clock = clock
        await wire.register()
        yield wire


def _script(**limits: Any) -> Script:
    return Script(processing_polls=0, reuse_orders=False, limits=Limits(**limits))


def _name(number: int) -> list[str]:
    return [f"b{number}.boxes.example"]


def test_a_bucket_gives_what_is_in_it_and_refills_evenly() -> None:
    buckets, key, limit = TokenBuckets(), ("orders", "a"), (3, 30.0)
    for _ in range(3):
        assert buckets.wait_s(key, limit, 0) == 0
        buckets.spend(key, limit, 0)
    assert buckets.wait_s(key, limit, 0) == 10
    assert buckets.wait_s(key, limit, 4) == 6
    assert buckets.wait_s(key, limit, 10) == 0
    assert buckets.tokens(key, limit, 1000) == 3, "never more than it holds"


@pytest.mark.parametrize(
    ("name", "domain"),
    [
        ("*.a.boxes.example", "boxes.example"),
        ("boxes.example", "boxes.example"),
        ("a.boxes.co.example", "boxes.co.example"),
        ("x.a.psl.example", "a.psl.example"),
    ],
)
def test_the_registered_domain_is_a_label_below_the_public_suffix(name: str, domain: str) -> None:
    assert registered_domain(name, ("co.example", "psl.example")) == domain


async def test_orders_are_counted_per_account() -> None:
    async with _limited(_script(orders_per_account=(2, 200.0))) as wire:
        assert [(await wire.order(_name(each)))[0] for each in range(3)] == [201, 201, 429]
        assert wire.headers["Retry-After"] == "101"
        other = Wire(ca=wire.ca, number=1)
        await other.register()
        assert (await other.order(_name(0)))[0] == 201
        wire.clock.now_s += 101
        assert (await wire.order(_name(3)))[0] == 201
        assert wire.ca.ledger.limited == {"orders": 1}


async def test_a_refusal_is_in_lets_encrypts_words() -> None:
    async with _limited(_script(orders_per_account=(1, 3 * 3600))) as wire:
        await wire.order(_name(0))
        status, problem = await wire.order(_name(1))
    assert (status, problem["type"]) == (429, "urn:ietf:params:acme:error:rateLimited")
    assert problem["detail"] == (
        "too many new orders (1) from this account in the last 3h0m0s, retry after 2027-01-15 11:00:00 UTC:"
        " see https://letsencrypt.org/docs/rate-limits/#new-orders-per-account"
    )


async def test_a_reused_order_costs_an_order_too() -> None:
    async with _limited(Script(limits=Limits(orders_per_account=(2, 200.0)))) as wire:
        assert [(await wire.order(NAMES))[0] for _ in range(3)] == [201, 201, 429]
        assert [entry.kind for entry in wire.ca.ledger.entries] == ["newOrder", "reusedOrder"]


async def test_certificates_are_counted_per_registered_domain_over_all_accounts_when_they_are_issued() -> None:
    async with _limited(_script(certificates_per_domain=(1, DAY_S))) as wire:
        assert (await wire.order(_name(0)))[0] == 201, "an order alone costs nothing here"
        other = Wire(ca=wire.ca, number=1)
        await other.register()
        await other.issue(_name(1))
        status, problem = await wire.order(_name(2))
        assert status == 429
        assert 'too many certificates (1) already issued for "boxes.example" in the last 24h0m0s' in problem["detail"]
        assert (await wire.order(["elsewhere.example"]))[0] == 201


async def test_the_exact_set_is_counted_whatever_the_order_of_its_names() -> None:
    async with _limited(_script(certificates_per_names=(1, DAY_S))) as wire:
        await wire.issue(NAMES)
        status, problem = await wire.order(NAMES[::-1])
        assert status == 429
        assert "(1) already issued for this exact set of identifiers in the last 24h0m0s" in problem["detail"]
        assert (await wire.order(NAMES[:1]))[0] == 201


async def test_the_limit_that_lasts_longest_is_named() -> None:
    async with _limited(_script(certificates_per_names=(1, DAY_S), orders_per_account=(1, 10.0))) as wire:
        await wire.issue(NAMES)
        await wire.order(["elsewhere.example"])
        assert "exact set" in (await wire.order(NAMES))[1]["detail"]


async def test_failed_validations_close_a_name_for_an_account_until_they_refill() -> None:
    refused = {"type": "urn:ietf:params:acme:error:dns", "detail": "SERVFAIL", "status": 400}
    limits = Limits(failures_per_name=(2, 200.0))
    script = Script(limits=limits, validation_problem=refused, reuse_orders=False)
    async with _limited(script) as wire:
        for number in range(2):
            assert (await wire.order(NAMES[:1]))[0] == 201
            await wire.ask(f"chall/{number}/dns-01", {})
        status, problem = await wire.order(NAMES)
        assert status == 429
        assert 'too many failed authorizations (2) for "a.boxes.example"' in problem["detail"]
        assert (await wire.order(_name(9)))[0] == 201
        wire.clock.now_s += 101
        assert (await wire.order(NAMES))[0] == 201


TIGHT: dict[str, Any] = {"orders_per_account": (1, DAY_S), "certificates_per_domain": (1, DAY_S)}


async def test_names_that_had_a_certificate_cost_neither_an_order_nor_from_the_domain() -> None:
    async with _limited(_script(**TIGHT, certificates_per_names=(3, DAY_S))) as wire:
        await wire.issue(NAMES)
        assert (await wire.order(_name(1)))[0] == 429
        await wire.issue(NAMES)
        await wire.issue(NAMES)
        assert "exact set" in (await wire.order(NAMES))[1]["detail"], "but from the exact set"


async def test_a_replacement_inside_the_suggested_window_costs_nothing() -> None:
    async with _limited(_script(**TIGHT, certificates_per_names=(1, DAY_S))) as wire:
        replaced = await wire.issue(NAMES)
        assert (await wire.order(NAMES, replaces=replaced))[0] == 429, "the window is not open yet"
        wire.ca.move_window(-60, 60, ari_id=replaced)
        assert (await wire.order(NAMES, replaces=replaced))[0] == 201
        assert (await wire.order(NAMES, replaces=replaced))[0] == 409, "replaced already"


async def test_a_window_that_is_over_exempts_only_as_the_same_names_do() -> None:
    async with _limited(_script(**TIGHT, certificates_per_names=(2, DAY_S))) as wire:
        replaced = await wire.issue(NAMES)
        wire.ca.move_window(-3600, -1800)  # as after a mass revocation
        again = await wire.issue(NAMES, replaces=replaced)
        assert "exact set" in (await wire.order(NAMES, replaces=again))[1]["detail"]


async def test_boulders_own_window_is_two_percent_of_the_life_at_two_thirds() -> None:
    script = Script(processing_polls=0, profiles={"classic": 90 * DAY_S}, limits=Limits(orders_per_account=(1, DAY_S)))
    async with _limited(script) as wire:
        replaced = await wire.issue(NAMES)
        for day, status in ((58, 429), (60, 201)):
            wire.clock.now_s = NOON_S + day * DAY_S
            wire.ca.state.buckets.spend(("orders", wire.url("acct/0")), (1, DAY_S), wire.clock.now_s)
            assert (await wire.order(_name(1) + NAMES[:1], replaces=replaced))[0] == status


async def test_the_load_balancer_answers_too_many_requests_without_a_problem_document() -> None:
    async with _limited(_script(per_second={"newOrder": (2, 1), "": (1000, 1000)})) as wire:
        assert [(await wire.order(_name(each)))[0] for each in range(2)] == [201, 503]
        assert wire.headers["Content-Type"] == "text/html"
        assert int(wire.headers["Retry-After"]) >= 1
        assert (await wire.ask("acct/0", None))[0] == 200
        wire.clock.now_s += 0.5
        assert (await wire.order(_name(2)))[0] == 201
        assert wire.ca.ledger.limited == {"per second": 1}


async def test_lets_encrypts_numbers_can_be_written_as_json() -> None:
    async with _limited(Script()) as wire:
        script = {"limits": {"orders_per_account": [1, 100.0], "per_second": {"": [1000, 1000]}}}
        assert await wire.manage("script", script) == 204
        assert [(await wire.order(_name(each)))[0] for each in range(2)] == [201, 429]
    assert LETS_ENCRYPT.orders_per_account == (300, 10_800)
