"""HQ killed between any two steps of an order, and started again on the same folder."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from hq.tests.service.conftest import SetStage, Stage

from tests.scripted_ca import Script

MOST_STEPS = 80


async def kill_and_resume(setting: Stage, lives: int) -> bool:
    """One box, HQ killed before worker step `lives`; False when there were fewer steps than that."""
    folder = setting.folder / f"killed-at-{lives}"
    async with setting.hq(folder=folder, lives=lives) as scene:
        box = scene.box()
        await box.admit()
        polling = asyncio.create_task(box.poll())
        dying = asyncio.create_task(scene.hq.mortal.died.wait())
        await asyncio.wait({polling, dying}, return_when=asyncio.FIRST_COMPLETED)
        killed = scene.hq.mortal.died.is_set()
        for task in (polling, dying):
            task.cancel()
        await asyncio.gather(polling, dying, return_exceptions=True)
    async with setting.hq(folder=folder) as scene:
        box.hq, box.session = scene.hq, scene.session
        async with asyncio.timeout(30):
            reply = await box.poll(path="/device/v1/orders/" + box.order_url.rsplit("/", 1)[1])
        assert reply.message["status"] == "issued", (lives, reply.message)
        assert await scene.hq.count("challenge_txt") == 0
        assert await scene.hq.count("certificate") == 1
    return killed


@pytest.mark.parametrize(
    ("script", "unfinished"),
    [
        (Script(), 0),  # as Let's Encrypt: an unfinished order comes back
        (Script(reuse_orders=False, list_orders=True), 0),  # as Pebble: the account lists its orders
        (Script(reuse_orders=False), 1),  # neither: one unfinished order may be left per kill (design.md section 7)
    ],
    ids=["reuses orders", "lists orders", "neither"],
)
async def test_no_order_is_lost_or_doubled(stage: SetStage, script: Script, unfinished: int) -> None:
    setting = await stage(script)
    lives, killed = 0, True
    while killed:
        lives += 1
        assert lives < MOST_STEPS
        killed = await kill_and_resume(setting, lives)
    assert lives > 20  # it was killed at that many different steps
    ledger = setting.ca.ledger
    per_key = Counter(entry.spki_sha256 for entry in ledger.of("issued"))
    assert len(per_key) == lives
    assert set(per_key.values()) == {1}
    per_name = Counter(entry.names for entry in ledger.of("newOrder"))
    assert max(per_name.values()) <= 1 + unfinished
    finalized = Counter(entry.names for entry in ledger.of("finalize"))
    assert max(finalized.values()) == 1
