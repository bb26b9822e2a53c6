"""HQ as several processes on one PostgreSQL: one is killed, one stands still past its lease, and no box notices."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import cast

import aiohttp
import pytest

from tests.harness.box import Box, open_session
from tests.harness.hq import RunningHq
from tests.harness.ports import free_port
from tests.harness.several import HOST, Several, certificate_of, eventually, several
from tests.scripted_ca import Script, ScriptedCa, start_scripted_ca

BOXES = 12
SLOW_CA = Script(processing_s=1.5, list_orders=True)


class Stage:
    """HQ's processes, a CA, and boxes."""

    def __init__(self, hq: Several, ca: ScriptedCa, session: aiohttp.ClientSession) -> None:
        self.hq, self.ca, self.session = hq, ca, session

    def box(self, at: str = "") -> Box:
        return Box(hq=cast("RunningHq", self.hq), session=self.session, at=at)  # its URL and roots are all that is used


@pytest.fixture
async def stage(tmp_path: Path, postgres_url: str) -> AsyncIterator[Stage]:
    async with AsyncExitStack() as stack:
        dns_port = free_port()
        ca = await stack.enter_async_context(start_scripted_ca(SLOW_CA, dns_server=(HOST, dns_port)))
        hq = await stack.enter_async_context(several(tmp_path, ca, dns_port, postgres_url))
        yield Stage(hq, ca, await stack.enter_async_context(open_session(cast("RunningHq", hq))))


async def test_orders_of_a_killed_and_of_a_stopped_worker_are_finished_once(stage: Stage) -> None:
    hq = stage.hq
    first, killed, stopped = await asyncio.gather(*map(hq.start, ("api,worker,dns", "worker", "worker")))
    boxes = [stage.box() for _ in range(BOXES)]
    await asyncio.gather(*(box.admit() for box in boxes))
    waiting = [asyncio.create_task(certificate_of(box)) for box in boxes]

    async def all_work() -> bool:
        return {killed.pid, stopped.pid} <= (await hq.working()).keys()

    await eventually(all_work, within_s=10)
    stopped.send(signal.SIGSTOP)
    killed.send(signal.SIGKILL)
    assert await all_work()
    async with asyncio.timeout(40):
        chains = await asyncio.gather(*waiting)
    stopped.send(signal.SIGCONT)

    assert len(set(chains)) == BOXES

    async def found_out() -> bool:
        return bool(stopped.lines("order.taken_over") or stopped.lines("order.put_back"))

    await eventually(found_out, within_s=10)
    late = stage.box()
    await late.admit()
    await asyncio.wait_for(certificate_of(late), 20)
    issued = Counter(entry.spki_sha256 for entry in stage.ca.ledger.of("issued"))
    finalized = Counter(entry.names for entry in stage.ca.ledger.of("finalize"))
    assert set(issued.values()) == set(finalized.values()) == {1}
    assert len(issued) == len(finalized) == BOXES + 1
    assert await hq.rows("SELECT id, state, lease_by FROM cert_order WHERE state <> 'issued' OR lease_by <> ''") == []
    assert await hq.rows("SELECT label FROM challenge_txt") == []
    assert await stopped.end() == 0
    assert await first.end() == 0
    assert first.lines("duty.taken")  # the killed one may have had some, and the one that stood still
    assert [row[0] for row in await hq.rows("SELECT pid FROM hq_process")] == [killed.pid]


async def test_a_poll_at_one_process_ends_when_the_worker_of_another_one_has_finished(stage: Stage) -> None:
    hq = stage.hq
    other_port = free_port()
    await asyncio.gather(hq.start("api,dns"), hq.start("api", port=other_port), hq.start("worker"))
    box, twin = stage.box(), stage.box()
    await asyncio.gather(box.admit(), twin.admit())
    twin.at = f"https://{HOST}:{other_port}"
    polls = [asyncio.create_task(each.poll()) for each in (box, twin)]
    replies = await asyncio.wait_for(asyncio.gather(*polls), 20)
    answered_s = time.time()

    assert [reply.message["status"] for reply in replies] == ["issued", "issued"]
    assert answered_s - max(entry.at for entry in stage.ca.ledger.of("issued")) < 3
