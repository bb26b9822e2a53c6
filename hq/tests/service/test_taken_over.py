"""A worker whose orders another process has taken over: it stops, and what it still wants to write is refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hq.tests.store.rows import device, order

from otscert.acme.fault import Fault, Remedy
from otscert.ca.errors import CaError
from otscert.domain.order import Order
from otscert.service.issuance import put_again
from otscert.service.setbacks import Setbacks
from otscert.service.signals import LocalSignals
from otscert.service.topics import DUE
from otscert.service.worker import LEASE_S, Worker
from otscert.service.zone_following import ZoneElsewhere
from otscert.store.errors import Moved
from otscert.store.sqlite import SqliteStore
from otscert.store.transaction import Transaction
from tests.harness.hq import TestClock, make_hq


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore.open(tmp_path / "hq.db")

    def fill(transaction: Any) -> None:
        for number in (1, 2):
            transaction.devices.add(device(number))
            transaction.orders.add(order(number, device_id=f"d{number}"))

    await store.write(fill)
    yield store
    await store.close()


class Endless:
    """An issuance that never ends, as at a CA that does not answer."""

    def __init__(self) -> None:
        self.running: list[str] = []
        self.changed = asyncio.Event()

    async def run(self, order: Order) -> Order:
        self.running.append(order.id)
        self.changed.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.running.remove(order.id)
            self.changed.set()
        return order

    async def until(self, *running: str) -> None:
        async with asyncio.timeout(10):
            while sorted(self.running) != sorted(running):
                await self.changed.wait()
                self.changed.clear()


def make_setbacks(store: SqliteStore, process: str, clock: TestClock) -> Setbacks:
    signals = LocalSignals()
    return Setbacks(hq=make_hq(clock, process), store=store, zone=ZoneElsewhere(signals=signals), signals=signals)


async def take(store: SqliteStore, by: str, *ids: str, now_s: int) -> list[Order]:
    def lease(transaction: Transaction) -> list[Order]:
        due = transaction.orders.due(now_s=now_s, limit=9, by=by)
        return transaction.orders.lease([each for each in due if each.id in ids], by=by, until_s=now_s + LEASE_S)

    return await store.write(lease)


async def test_a_worker_renews_its_leases_and_stops_what_was_taken_over(store: SqliteStore) -> None:
    clock, endless, signals = TestClock(), Endless(), LocalSignals()
    issuance: Any = endless
    worker = Worker(
        hq=make_hq(clock, "one"),
        store=store,
        issuance=issuance,
        setbacks=make_setbacks(store, "one", clock),
        signals=signals,
        max_in_flight=4,
    )
    working = asyncio.create_task(worker.work())
    await endless.until("o1", "o2")
    clock.ahead_s = LEASE_S - 1
    await worker.keep()
    later_s = clock.now_ms() // 1000 + 2
    assert await take(store, "two", "o1", now_s=later_s) == []
    clock.ahead_s += LEASE_S + 5
    assert len(await take(store, "two", "o1", now_s=clock.now_ms() // 1000)) == 1
    await worker.keep()
    await endless.until("o2")
    assert [each.lease_by for each in await store.read(lambda t: t.orders.page(after_id="", limit=9))] == ["two", "one"]
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)
    await worker.stop()
    with signals.listen(DUE) as heard:
        await worker.give_back()
        async with asyncio.timeout(5):
            await heard(60)
    assert [each.lease_by for each in await store.read(lambda t: t.orders.page(after_id="", limit=9))] == ["two", None]


async def test_what_it_saw_of_an_order_counts_no_more(store: SqliteStore) -> None:
    clock = TestClock()
    now_s = clock.now_ms() // 1000
    setbacks = make_setbacks(store, "one", clock)
    (seen,) = await take(store, "one", "o1", now_s=now_s)
    await take(store, "two", "o1", now_s=now_s + LEASE_S)
    with pytest.raises(Moved):
        await setbacks.write_down(seen, Fault(remedy=Remedy.PERMANENT, reason="refused"), restart=False)
    with pytest.raises(Moved):
        await setbacks.rest(seen, "its box is away")
    order_ = await store.read(lambda t: t.orders.get("o1"))
    assert order_ is not None
    assert (order_.lease_by, order_.reason) == ("two", seen.reason)


class Poisoned:
    """An issuance whose end cannot be written down, because HQ fails at that too."""

    def __init__(self) -> None:
        self.runs = 0

    async def run(self, order: Order) -> Order:
        self.runs += 1
        raise CaError(Fault(remedy=Remedy.BACK_OFF, reason=order.id, retry_after_s=float("inf")))


async def test_an_order_whose_fault_cannot_be_written_down_is_not_tried_again_at_once(store: SqliteStore) -> None:
    clock, poisoned = TestClock(), Poisoned()
    issuance: Any = poisoned
    worker = Worker(
        hq=make_hq(clock, "one"),
        store=store,
        issuance=issuance,
        setbacks=make_setbacks(store, "one", clock),
        signals=LocalSignals(),
        max_in_flight=1,
    )
    working = asyncio.create_task(worker.work())
    async with asyncio.timeout(20):
        while not all("HQ itself" in each.reason for each in await orders(store)):  # noqa: ASYNC110 - only rows know
            await asyncio.sleep(0.02)
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)
    await worker.stop()
    assert poisoned.runs == 2
    assert all(each.next_at_s >= clock.now_ms() // 1000 + 200 for each in await orders(store))


async def orders(store: SqliteStore) -> list[Order]:
    return await store.read(lambda transaction: transaction.orders.page(after_id="", limit=9))


async def test_values_of_an_order_that_was_taken_over_are_not_put_again(store: SqliteStore) -> None:
    now_s = TestClock().now_ms() // 1000
    (seen,) = await take(store, "one", "o1", now_s=now_s)
    await store.write(lambda transaction: put_again(transaction, seen, ["mine"]))
    await take(store, "two", "o1", now_s=now_s + LEASE_S)
    with pytest.raises(Moved):
        await store.write(lambda transaction: put_again(transaction, seen, ["late"]))
    assert [value for _, value in await store.read(lambda transaction: transaction.challenges.all())] == ["mine"]
