"""How soon a change is answered by every process on one PostgreSQL, and that its silence stops no answer."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import dns.message
import pytest
from hq.tests.store.rows import device, order

from otscert.service import zone_following
from otscert.service.shared_signals import SharedSignals
from otscert.service.topics import ZONE
from otscert.service.zone_following import ZoneElsewhere, ZoneFollower
from otscert.store.postgresql import PostgresStore
from otscert.store.transaction import Transaction
from otscert.zones.settings import ZoneSettings
from otscert.zones.zone import Zone
from tests.harness.hq import make_model
from tests.harness.postgresql import PostgresServer, run_postgres

T = TypeVar("T")
ORIGIN = "boxes.example.com"
CHALLENGES = 50
NO_LOOK_S = 600.0
"""Between two looks without a signal: nothing but signals can be the reason why the tests go on."""
DEADLINE_S = 60
STALLED_AT_MOST_S = 30
ANSWERS = 200


class CountingStore:
    """The real store, and how many of its reads have not come back."""

    def __init__(self, store: PostgresStore) -> None:
        self.whole, self.reading = store, 0

    async def write(self, work: Callable[[Transaction], T]) -> T:
        return await self.whole.write(work)

    async def read(self, work: Callable[[Transaction], T]) -> T:
        self.reading += 1
        try:
            return await self.whole.read(work)
        finally:
            self.reading -= 1


class Process:
    """What one HQ process has of the zone; `moved` is set with every move of the serial."""

    def __init__(self, store: PostgresStore, url: str) -> None:
        self.store, self.signals, self.moved = CountingStore(store), SharedSignals(url), asyncio.Event()
        self.zone = Zone(ZoneSettings(origin=ORIGIN, name_servers=("ns.example.net",), contact=f"hostmaster.{ORIGIN}"))
        self.zone.on_move(self.moved.set)
        self.follower = ZoneFollower(
            models={"box": make_model()}, issuers=(), store=self.store, signals=self.signals, zone=self.zone
        )

    def values(self) -> list[str]:
        """The TXT values that the zone answers at the box's challenge name."""
        query = dns.message.make_query(f"_acme-challenge.label1.{ORIGIN}", "TXT").to_wire()
        answer = self.zone.answer(query, size_limit=None)
        assert answer is not None
        return [rdata.to_text().strip('"') for rrset in dns.message.from_wire(answer).answer for rdata in rrset]

    async def until(self, value: str) -> None:
        while value not in self.values():
            self.moved.clear()
            await self.moved.wait()

    async def put(self, value: str, *, of_order: str) -> None:
        """As the use cases do: into the store, and once it is committed, to the zone."""
        await self.store.write(lambda t: t.challenges.put(of_order, "label1", [value]))
        ZoneElsewhere(signals=self.signals).put_txt("label1", value)


@asynccontextmanager
async def process(url: str) -> AsyncIterator[Process]:
    one = Process(await asyncio.to_thread(PostgresStore.open, url), url)
    await one.follower.load()
    tasks = [asyncio.create_task(work) for work in (one.follower.follow(), one.signals.work())]
    try:
        yield one
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await one.store.whole.close()


async def until_connected(one: Process, other: Process) -> None:
    """Until signals come through from the one to the other, and the other's follower has heard the last of them."""
    with other.signals.listen("test") as heard:
        listening = asyncio.ensure_future(heard(DEADLINE_S))
        while not listening.done():
            one.signals.publish("test")
            await asyncio.wait({listening}, timeout=0.05)


@pytest.fixture
def no_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zone_following, "LOOK_S", NO_LOOK_S)


@pytest.mark.usefixtures("no_look")
async def test_every_process_answers_a_challenge_soon_after_one_wrote_it(postgres_url: str) -> None:
    took_ms: list[float] = []
    async with asyncio.timeout(DEADLINE_S), process(postgres_url) as one, process(postgres_url) as other:
        await one.store.write(fill)
        await until_connected(one, other)
        for number in range(CHALLENGES):
            value = f"value{number}"
            began_s = time.perf_counter()
            await one.put(value, of_order="o1")
            await asyncio.gather(one.until(value), other.until(value))
            took_ms.append((time.perf_counter() - began_s) * 1000)
            await one.store.write(lambda t: t.challenges.drop("o1"))
    took_ms.sort()
    print(f"\nfrom before the commit to both zones: p50 {took_ms[CHALLENGES // 2]:.1f} ms, p99 {took_ms[-1]:.1f} ms")  # noqa: T201


def fill(transaction: Transaction) -> None:
    transaction.devices.add(device())
    transaction.orders.add(order())


class Stall:
    """A server whose processes all stand still; the machine ends it by itself, in case the test's own loop is held."""

    def __init__(self, server: PostgresServer) -> None:
        self._pids = [server.pid]
        os.kill(server.pid, signal.SIGSTOP)  # first, so that it starts no more
        children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text(encoding="ascii")
        self._pids += [int(pid) for pid in children.split()]
        for pid in self._pids[1:]:
            os.kill(pid, signal.SIGSTOP)
        self.is_over = False
        self._timer = threading.Timer(STALLED_AT_MOST_S, self.end)
        self._timer.start()

    def end(self) -> None:
        self._timer.cancel()
        if not self.is_over:
            self.is_over = True
            for pid in self._pids:
                os.kill(pid, signal.SIGCONT)


@pytest.mark.usefixtures("no_look")
async def test_what_is_known_is_answered_while_the_database_stands_still_and_the_rest_follows() -> None:
    with run_postgres() as server:
        url = server.create_database()
        async with asyncio.timeout(2 * DEADLINE_S), process(url) as writer, process(url) as one:
            await writer.store.write(fill)
            await until_connected(writer, one)
            await writer.put("known", of_order="o1")
            await one.until("known")

            stall = Stall(server)
            try:
                late = asyncio.create_task(writer.put("late", of_order="o1"))
                one.signals.publish(ZONE)
                while not one.store.reading:  # noqa: ASYNC110 - one turn of the loop, for as long as the loop turns
                    await asyncio.sleep(0)
                for _ in range(ANSWERS):
                    assert one.values() == ["known"]
                    await asyncio.sleep(0)
                assert (one.store.reading, late.done(), stall.is_over) == (1, False, False)
            finally:
                stall.end()
            await late
            await one.until("late")
            assert sorted(one.values()) == ["known", "late"]

            # Connections that are cut are made anew, and what happened meanwhile is looked up.
            server.admin(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'otscert %'"
            )
            assert sorted(one.values()) == ["known", "late"]
            await writer.put("after the cut", of_order="o1")
            await one.until("after the cut")
