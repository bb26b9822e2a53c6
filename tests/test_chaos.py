"""What HQ stands on breaks while it runs: disk, database, clock. It refuses with a reason, DNS goes on, it recovers.

Real HQ processes; nobody restarts them.
"""

from __future__ import annotations

import asyncio
import platform
import resource
import signal
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dns.asyncquery
import dns.message
import pytest

from tests.harness.box import Box, open_session
from tests.harness.mortal_hq import HOST, MortalHq, mortal_hq
from tests.harness.parts import require_part
from tests.harness.persistent_box import PersistentBox
from tests.harness.ports import free_port
from tests.harness.postgresql import run_postgres
from tests.scripted_ca import Fate, Script, ScriptedCa, start_scripted_ca

DEADLINE_S = 60.0
DAY_S = 86_400
pytestmark = pytest.mark.timeout(120)


@dataclass(slots=True, kw_only=True)
class World:
    """HQ, its CA, its DNS, and the boxes at it."""

    hq: MortalHq
    ca: ScriptedCa
    session: Any
    dns_port: int

    def box(self) -> PersistentBox:
        hq: Any = self.hq
        return PersistentBox(box=Box(hq=hq, session=self.session))

    async def served(self) -> PersistentBox:
        """A box that has its certificate."""
        box = self.box()
        async with asyncio.timeout(DEADLINE_S):
            await box.prepare()
            await box.order()
            await box.obtain()
        return box

    async def dns_answers(self, box: PersistentBox) -> bool:
        """Whether HQ's name server says where the box is."""
        query = dns.message.make_query(box.box.names[0], "A")
        answer = await dns.asyncquery.udp(query, HOST, port=self.dns_port, timeout=5)
        return any("192.168.1.20" in str(found) for found in answer.answer)

    @property
    def log(self) -> str:
        return (self.hq.folder / "log").read_text()


@asynccontextmanager
async def _world(folder: Path, script: Script | None = None, **hq: Any) -> AsyncIterator[World]:
    dns_port = free_port()
    async with (
        start_scripted_ca(script, dns_server=(HOST, dns_port)) as ca,
        mortal_hq(folder, ca, dns_port, **hq) as running,
    ):
        await running.start()
        served: Any = running
        async with open_session(served) as session:
            yield World(hq=running, ca=ca, session=session, dns_port=dns_port)


async def _refusal(box: PersistentBox) -> str:
    """What a box is told that says hello now; it must be a clear "not now" with a time to ask again."""
    reply = await box.box.hello()
    assert reply.status == 503, reply.message
    assert reply.message["retry_after_s"] > 0
    return reply.detail


async def test_a_full_disk_is_refused_and_passes(tmp_path: Path) -> None:
    """The limit on the size of files stands for the disk: the next page of the database does not fit."""
    async with _world(tmp_path) as world:
        before = await world.served()
        assert world.hq.pid is not None
        _, hard = resource.prlimit(world.hq.pid, resource.RLIMIT_FSIZE)
        wal_bytes = (tmp_path / "data" / "hq.db-wal").stat().st_size
        resource.prlimit(world.hq.pid, resource.RLIMIT_FSIZE, (wal_bytes, hard))
        waiting = world.box()
        assert "store cannot be written right now" in await _refusal(waiting)
        assert "box.store_unavailable" in world.log, "and the operator reads why"
        assert await world.dns_answers(before)
        resource.prlimit(world.hq.pid, resource.RLIMIT_FSIZE, (hard, hard))
        await world.served()
        assert await world.dns_answers(before)


async def test_a_locked_database_is_refused_and_passes(tmp_path: Path) -> None:
    async with _world(tmp_path) as world:
        before = await world.served()
        with closing(sqlite3.connect(tmp_path / "data" / "hq.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")  # as somebody's forgotten shell does
            asking = asyncio.create_task(_refusal(world.box()))
            while not asking.done():  # HQ waits some seconds for the other one, and DNS for neither
                assert await world.dns_answers(before)
                await asyncio.wait({asking}, timeout=0.5)
            assert "store cannot be written right now" in await asking
            assert "database is locked" in world.log
        await world.served()


async def test_postgresql_restarts_under_load_and_nothing_is_lost(tmp_path: Path) -> None:
    with run_postgres() as server:
        async with _world(tmp_path, database_url=server.create_database()) as world:
            before = await world.served()
            boxes = [world.box() for _ in range(30)]

            async def obtain(box: PersistentBox) -> None:
                await box.prepare()
                await box.order()
                await box.obtain()

            loading = [asyncio.create_task(obtain(box)) for box in boxes]
            for how in (signal.SIGINT, signal.SIGQUIT):
                await asyncio.sleep(0.3)  # in the middle of whatever is under way
                server.stop(how)
                assert await world.dns_answers(before)
                await asyncio.to_thread(server.start)
            async with asyncio.timeout(DEADLINE_S):
                await asyncio.gather(*loading)
            issued = world.ca.ledger.of("issued")
            assert len(issued) == len({entry.spki_sha256 for entry in issued}) == len(boxes) + 1
            await world.hq.kill(signal.SIGTERM)


def _faked_clock(folder: Path) -> tuple[dict[str, str], Path]:
    """The environment of a process whose clock is what the file says, at every look."""
    part = "libfaketime-arm64" if platform.machine() == "aarch64" else "libfaketime"
    file = folder / "clock"
    file.write_text("+0\n")
    return {
        "LD_PRELOAD": str(require_part(part).path),
        "FAKETIME_TIMESTAMP_FILE": str(file),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "NO_FAKE_STAT": "1",
        "TZ": "UTC",
    }, file


def _step(file: Path, seconds: int) -> None:
    draft = file.with_suffix(".new")
    draft.write_text(f"{seconds:+d}\n")
    draft.replace(file)


async def test_a_clock_that_is_stepped_a_day_forward_and_back_keeps_nobody_waiting(tmp_path: Path) -> None:
    environment, clock = _faked_clock(tmp_path)
    async with _world(tmp_path, environment=environment) as world:
        before = await world.served()
        _step(clock, DAY_S)
        await world.served()
        # An order that is put off while the clock is wrong, until a moment that is a day away when it is right again.
        late = world.box()
        await late.prepare()
        world.ca.add_fates(Fate(on="newOrder", status=503, name=late.box.names[0]))
        await late.order()
        await _until(lambda: "order.waits" in world.log)
        _step(clock, 0)
        assert await world.dns_answers(before)
        async with asyncio.timeout(DEADLINE_S):
            await late.obtain()
        await before.prepare()
        await before.order()
        async with asyncio.timeout(DEADLINE_S):
            await before.obtain()


async def _until(so: Any) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not so():  # noqa: ASYNC110 - a file says so
            await asyncio.sleep(0.05)
