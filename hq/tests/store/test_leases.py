"""Which process works on an order: both stores, the repository's own rules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hq.tests.store.rows import device, order

from otscert.domain.order import OrderEvent, OrderState
from otscert.service.ports import Store
from otscert.store.errors import Moved
from otscert.store.transaction import Transaction

NOW_S = 1_000_000
LEASE_S = 15


@pytest.fixture
async def orders(store: Store) -> list[str]:
    """Three orders that are due."""

    def fill(transaction: Transaction) -> list[str]:
        for number in (1, 2, 3):
            transaction.devices.add(device(number))
            transaction.orders.add(order(number, device_id=f"d{number}"))
        return ["o1", "o2", "o3"]

    return await store.write(fill)


async def take(store: Store, by: str, *, now_s: int = NOW_S, limit: int = 10) -> list[str]:
    def lease(transaction: Transaction) -> list[str]:
        due = transaction.orders.due(now_s=now_s, limit=limit, by=by)
        return [each.id for each in transaction.orders.lease(due, by=by, until_s=now_s + LEASE_S)]

    return await store.write(lease)


@pytest.mark.usefixtures("orders")
async def test_what_one_process_has_another_one_does_not_get(store: Store) -> None:
    assert len(await take(store, "one", limit=2)) == 2
    assert len(await take(store, "two")) == 1
    assert await take(store, "three") == []
    assert len(await take(store, "one")) == 2  # its own it may take again: it was not told that it has them


@pytest.mark.parametrize(
    ("moved_s", "free"),
    [(0, False), (LEASE_S - 1, False), (LEASE_S, True), (-60, False), (-3600, True)],
    ids=["at once", "just before its end", "at its end", "clock a minute behind", "given by a clock that was ahead"],
)
async def test_a_lease_ends(store: Store, orders: list[str], moved_s: int, *, free: bool) -> None:
    await take(store, "one")
    due = await store.read(lambda t: t.orders.due(now_s=NOW_S + moved_s, limit=9, by="two"))
    waiting = await store.read(lambda t: t.orders.next_due_s(besides=(), now_s=NOW_S + moved_s, by="two"))
    assert [each.id for each in due] == (orders if free else [])
    assert (waiting is not None) is free


ACTS: dict[str, Callable[[Transaction, Any], Any]] = {
    "advance": lambda t, seen: t.orders.advance(seen, OrderEvent.CLAIM),
    "fail": lambda t, seen: t.orders.advance(seen, OrderEvent.FAIL),
    "postpone": lambda t, seen: t.orders.postpone(seen, next_at_s=1, reason="late"),
    "rest": lambda t, seen: t.orders.rest(seen, next_at_s=1, reason="away"),
    "drop_replaces": lambda t, seen: t.orders.drop_replaces(seen),
}


@pytest.mark.parametrize("act", ACTS)
async def test_who_lost_the_lease_can_write_nothing(store: Store, orders: list[str], act: str) -> None:
    await take(store, "one")
    (seen, *_) = await store.read(lambda t: t.orders.due(now_s=NOW_S, limit=9, by="one"))
    await take(store, "two", now_s=NOW_S + LEASE_S)
    with pytest.raises(Moved):
        await store.write(lambda t: ACTS[act](t, seen))
    mine = await store.read(lambda t: t.orders.get(seen.id))
    assert mine is not None
    assert (mine.lease_by, mine.state, mine.next_at_s) == ("two", OrderState.WAITING, seen.next_at_s)
    await store.write(lambda t: ACTS[act](t, mine))
    assert await store.read(lambda t: t.orders.lost(orders, by="one")) >= set(orders) - {seen.id}


@pytest.mark.usefixtures("orders")
@pytest.mark.parametrize("act", ["fail", "postpone", "rest"])
async def test_an_order_that_is_put_aside_or_ends_is_nobodys(store: Store, act: str) -> None:
    await take(store, "one")
    seen = await store.read(lambda t: t.orders.get("o1"))
    await store.write(lambda t: ACTS[act](t, seen))
    after = await store.read(lambda t: t.orders.get("o1"))
    assert after is not None
    assert (after.lease_by, after.lease_until_s) == (None, 0)


@pytest.mark.usefixtures("orders")
async def test_leases_are_renewed_and_given_back_by_their_holder_alone(store: Store) -> None:
    await take(store, "one", limit=2)
    await take(store, "two")
    await store.write(lambda t: t.orders.renew_leases(by="one", until_s=NOW_S + 100))
    assert len(await take(store, "three", now_s=NOW_S + LEASE_S)) == 1
    assert await store.write(lambda t: t.orders.free_leases(by="one")) == 2
    assert len(await take(store, "three", now_s=NOW_S + 1)) == 3


async def test_a_duty_has_one_holder_and_changes_hands_when_it_ends(store: Store) -> None:
    def take_duty(by: str, now_s: int) -> Callable[[Transaction], bool]:
        return lambda t: t.duties.take("sweeping", by=by, now_s=now_s, until_s=now_s + LEASE_S)

    assert await store.write(take_duty("one", NOW_S))
    assert not await store.write(take_duty("two", NOW_S + LEASE_S - 1))
    assert await store.write(take_duty("one", NOW_S + LEASE_S - 1))
    assert await store.read(lambda t: t.duties.holder("sweeping", now_s=NOW_S + LEASE_S)) == "one"
    assert await store.write(take_duty("two", NOW_S + 2 * LEASE_S))
    await store.write(lambda t: t.duties.give_back("sweeping", by="one"))
    assert await store.read(lambda t: t.duties.all()) == [("sweeping", "two")]
    assert await store.write(take_duty("three", NOW_S - 3600))  # "two" had a clock that was ahead
