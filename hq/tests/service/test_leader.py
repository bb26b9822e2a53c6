"""What only one process does at a time, and processes that know of each other; on a store that they share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from otscert.service.heartbeat import FORGET_S, GONE_S, Heartbeat, OtherKeys
from otscert.service.leader import HOLD_S, Leader
from otscert.store.postgresql import PostgresStore
from otscert.store.processes import Process
from tests.harness.hq import TestClock, make_hq


@pytest.fixture
async def store(postgres_url: str) -> AsyncIterator[PostgresStore]:
    store = await asyncio.to_thread(PostgresStore.open, postgres_url)
    yield store
    await store.close()


@pytest.fixture
def clock() -> TestClock:
    return TestClock()


class Worked:
    """A duty: counts how many do it at once, and how often it was begun."""

    def __init__(self) -> None:
        self.now: list[str] = []
        self.begun: list[str] = []
        self.changed = asyncio.Event()

    def by(self, name: str) -> Callable[[], Any]:
        async def work() -> None:
            self.begun.append(name)
            self.now.append(name)
            self.changed.set()
            try:
                await asyncio.Event().wait()
            finally:
                self.now.remove(name)
                self.changed.set()

        return work

    async def until(self, *begun: str) -> None:
        await self._until(lambda: self.begun == list(begun))

    async def until_nobody(self) -> None:
        await self._until(lambda: not self.now)

    async def _until(self, so: Callable[[], bool]) -> None:
        async with asyncio.timeout(HOLD_S - 5):
            while not so():
                await self.changed.wait()
                self.changed.clear()


def lead(store: PostgresStore, clock: TestClock, name: str, worked: Worked) -> asyncio.Task[None]:
    leader = Leader(hq=make_hq(clock, name), store=store, look_s=0.05)
    return asyncio.create_task(leader.lead("sweeping", worked.by(name)))


async def end(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_one_of_two_does_it_and_the_other_goes_on_when_it_ends(store: PostgresStore, clock: TestClock) -> None:
    worked = Worked()
    one = lead(store, clock, "one", worked)
    await worked.until("one")
    two = lead(store, clock, "two", worked)
    await asyncio.sleep(0.2)
    assert worked.now == ["one"]
    await end(one)
    await worked.until("one", "two")
    assert worked.now == ["two"]
    await end(two)


async def test_who_loses_it_stops_doing_it(store: PostgresStore, clock: TestClock) -> None:
    worked = Worked()
    one = lead(store, clock, "one", worked)
    await worked.until("one")
    later_s = clock.now_ms() // 1000 + HOLD_S + 1
    taken = await store.write(lambda t: t.duties.take("sweeping", by="two", now_s=later_s, until_s=later_s + 60))
    assert taken  # as after a pause of the process, in which its hold ran out
    clock.ahead_s = HOLD_S + 1
    await worked.until_nobody()
    await end(one)
    assert await store.read(lambda t: t.duties.all()) == [("sweeping", "two")]


async def test_an_error_of_the_work_is_not_swallowed(store: PostgresStore, clock: TestClock) -> None:
    async def fail() -> None:
        raise LookupError

    with pytest.raises(LookupError):
        await Leader(hq=make_hq(clock, "one"), store=store, look_s=0.05).lead("sweeping", fail)


def heart(store: PostgresStore, clock: TestClock, name: str, roles: str, key_check: str = "key") -> Heartbeat:
    me = Process(id=name, host="here", pid=1, roles=roles, key_check=key_check, started_s=0, seen_s=0)
    return Heartbeat(hq=make_hq(clock, name), store=store, me=me)


async def test_limits_are_shared_among_the_workers_that_live(store: PostgresStore, clock: TestClock) -> None:
    one, two = heart(store, clock, "1", "api worker"), heart(store, clock, "2", "worker")
    told: list[int] = []
    for each in (heart(store, clock, "3", "dns"), one, two):
        await each.enter()
    await one.enter()
    one.take_on(keep=_nothing, shared=told.append)
    await two.leave()
    await one.enter()
    clock.ahead_s = GONE_S + 1
    await one.enter()
    assert told == [2, 1, 1]
    assert [process.id for process in one.living] == ["1"]
    clock.ahead_s = FORGET_S + GONE_S + 2
    await one.enter()
    assert [process.id for process in await store.read(lambda t: t.processes.seen_since(0))] == ["1"]


async def test_a_process_with_other_keys_does_not_start_beside_the_others(
    store: PostgresStore, clock: TestClock
) -> None:
    await heart(store, clock, "1", "api").enter()
    with pytest.raises(OtherKeys, match="process 1 on here works with other keys: copy its pki folder"):
        await heart(store, clock, "2", "worker", key_check="another").enter()


async def test_a_process_that_died_while_its_clock_was_ahead_is_forgotten(
    store: PostgresStore, clock: TestClock
) -> None:
    clock.ahead_s = 10 * 365 * 86_400
    await heart(store, clock, "1", "worker", key_check="another").enter()
    clock.ahead_s = 0
    two = heart(store, clock, "2", "worker")
    await two.enter()
    assert [process.id for process in two.living] == ["2"]


async def _nothing() -> None:
    return None
