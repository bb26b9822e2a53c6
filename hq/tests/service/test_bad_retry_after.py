"""A CA's Retry-After that is no time, or one that nobody can mean: who waits how long, and that nobody else does."""

from __future__ import annotations

import asyncio
import json

import pytest
from hq.tests.service.conftest import SetStage

from tests.harness.box import Box
from tests.scripted_ca import Fate

WEEK_S = 7 * 86_400
PATIENCE_S = 60


async def _issued(box: Box) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while (await box.poll()).message["status"] != "issued":  # noqa: ASYNC110 - HQ holds each poll
            await asyncio.sleep(0.1)


@pytest.mark.parametrize(
    ("retry_after", "least_s", "most_s"),
    [("tomorrow", 1, 5), ("-1", 1, 5), ("1000000000000", WEEK_S - 60, WEEK_S * 4 / 3 + 60)],
)
async def test_a_strange_retry_after_delays_one_order_by_a_bounded_time_and_no_other(
    retry_after: str, least_s: float, most_s: float, stage: SetStage
) -> None:
    setting = await stage()
    async with setting.hq() as scene:
        box, other = scene.box(), scene.box()
        await box.hello()
        setting.ca.add_fates(Fate(on="newOrder", status=503, retry_after=retry_after, name=box.names[0]))
        (await box.enroll()).granted()
        async with asyncio.timeout(PATIENCE_S):
            while "order.waits" not in await scene.hq.event_kinds():  # noqa: ASYNC110 - only the store knows
                await asyncio.sleep(0.05)
        ((data,),) = await scene.hq.rows("SELECT data FROM event WHERE kind = 'order.waits'")
        said = json.loads(data)
        assert least_s <= said["wait_s"] <= most_s, "the operator sees until when"
        assert "as scripted" in said["reason"]
        await other.admit()
        await _issued(other)
        reply = await box.poll()
        if most_s < WEEK_S:
            await _issued(box)
        else:
            assert reply.message["status"] == "waiting"
            assert "as scripted" in reply.message["why"], "the box is told why"
