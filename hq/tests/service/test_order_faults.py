"""What a CA can do to an order, and what box and operator are told."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from hq.tests.service.conftest import SetStage

from tests.harness.box import Box, Reply
from tests.harness.scene import Scene
from tests.scripted_ca import Fate, Script

PATIENCE_S = 40


async def ended(box: Box) -> Reply:
    """Poll as a box does until the order has ended."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            reply = await box.poll()
            if reply.message["status"] != "waiting":
                return reply
            await asyncio.sleep(min(1, reply.message.get("retry_after_s", 0)))


async def waits(scene: Scene) -> list[str]:
    """Until an order waits; the reasons."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            rows = await scene.hq.rows("SELECT data FROM event WHERE kind = 'order.waits'")
            if rows:
                return [row[0] for row in rows]
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    "fate",
    [
        Fate(on="newOrder", form="html", status=200),
        Fate(on="newOrder", status=503, retry_after="1"),
        Fate(on="newOrder", form="drop"),
        Fate(on="newOrder", form="drop", acts=True),
        Fate(on="newOrder", form="cut"),
        Fate(on="newOrder", form="redirect"),
        Fate(on="newOrder", form="oversize"),
        Fate(on="newAccount", status=500),
        Fate(on="directory", form="html", status=502),
        Fate(on="order", form="html", status=200),
        Fate(on="order", status=500, skip=1),
        Fate(on="authorization", form="drop"),
        Fate(on="challenge", status=500),
        Fate(on="challenge", form="drop", acts=True),
        Fate(on="finalize", status=500),
        Fate(on="finalize", form="drop", acts=True),
        Fate(on="finalize", form="html", status=200, acts=True),
        Fate(on="certificate", form="html", status=200),
        Fate(on="certificate", form="drop"),
        Fate(on="certificate", status=503),
    ],
    ids=lambda fate: f"{fate.on}-{fate.form}-{fate.status}{'-acted' if fate.acts else ''}",
)
async def test_a_fault_that_passes_costs_time_only(stage: SetStage, fate: Fate) -> None:
    setting = await stage(Script(fates=(fate,)))
    async with setting.hq() as scene:
        box = scene.box()
        await box.admit()
        reply = await ended(box)
        assert reply.message["status"] == "issued"
    assert len(setting.ca.ledger.of("issued")) == 1
    assert len(setting.ca.ledger.of("newOrder")) == 1


async def test_a_rate_limit_parks_with_the_reason_and_resumes(stage: SetStage) -> None:
    limited = Fate(on="newOrder", status=429, type="rateLimited", detail="too many certificates", retry_after="3")
    setting = await stage(Script(fates=(limited,)))
    async with setting.hq() as scene:
        first = scene.box()
        await first.admit()
        (reason,) = await waits(scene)
        assert "too many certificates" in reason
        start = time.monotonic()
        second = scene.box()
        await second.admit()
        assert (await ended(first)).message["status"] == "issued"
        assert time.monotonic() - start >= 1.5  # nobody was sent to the CA in between
        assert (await ended(second)).message["status"] == "issued"
        assert setting.ca.ledger.requests["newOrder"] == 3


async def test_a_bad_csr_fails_for_good_and_says_why(stage: SetStage) -> None:
    setting = await stage(Script(fates=(Fate(on="finalize", status=400, type="badCSR", detail="weak key"),)))
    async with setting.hq() as scene:
        box = scene.box()
        await box.admit()
        reply = await ended(box)
        assert reply.message["status"] == "failed"
        assert "weak key" in reply.message["why"]
        assert "order.failed" in await scene.hq.event_kinds()
        assert await scene.hq.count("challenge_txt") == 0
        other = scene.box()
        await other.admit()
        assert (await ended(other)).message["status"] == "issued"


async def test_a_rejected_identifier_fails_for_good(stage: SetStage) -> None:
    rejected = Fate(on="newOrder", status=403, type="rejectedIdentifier", detail="forbidden by policy")
    setting = await stage(Script(fates=(rejected,)))
    async with setting.hq() as scene:
        box = scene.box()
        await box.admit()
        reply = await ended(box)
        assert (reply.message["status"], "forbidden by policy" in reply.message["why"]) == ("failed", True)
        (await box.renew()).granted()  # and the box may try again
        assert (await ended(box)).message["status"] == "issued"


@pytest.mark.parametrize("on", ["authorization", "challenge", "finalize"])
async def test_the_order_that_a_failed_one_left_at_the_ca_is_used_by_the_boxes_next(on: Any, stage: SetStage) -> None:
    """Let's Encrypt gives it back for the same names for a week: whoever calls it another's would wait as long."""
    setting = await stage(Script(fates=(Fate(on=on, status=400, type="malformed"),)))
    async with setting.hq() as scene:
        box = scene.box()
        await box.admit()
        assert (await ended(box)).message["status"] == "failed"
        (await box.renew()).granted()
        assert (await ended(box)).message["status"] == "issued"
        assert len(setting.ca.ledger.of("newOrder")) == 1


async def test_an_invalid_authorization_begins_a_new_order_at_the_ca(stage: SetStage) -> None:
    wrong = {"type": "urn:ietf:params:acme:error:dns", "detail": "SERVFAIL looking up TXT", "status": 400}
    setting = await stage(Script(validation_problem=wrong))
    async with setting.hq() as scene:
        box = scene.box()
        await box.admit()
        (reason,) = await waits(scene)
        assert "SERVFAIL looking up TXT" in reason
        ((state, url, attempt, wait_s),) = await scene.hq.rows(
            "SELECT state, url, attempt, next_at_s - created_at_s FROM cert_order"
        )
        assert (state, url, attempt) == ("waiting", None, 1)
        assert wait_s >= 15  # the CA counts failed validations
        assert await scene.hq.count("challenge_txt") == 0
        reply = await box.poll() if wait_s > 30 else None
        assert reply is None or "SERVFAIL" in reply.message["why"]
        setting.ca.follow(Script())
        scene.hq.clock.ahead_s = 60
        scene.hq.wake()
        assert (await ended(box)).message["status"] == "issued"
    assert len(setting.ca.ledger.of("newOrder")) == 2
    assert len(setting.ca.ledger.of("issued")) == 1


async def test_an_order_that_the_ca_forgot_is_begun_again(stage: SetStage) -> None:
    gone = Fate(on="order", status=404, type="malformed", detail="no such order")
    setting = await stage(Script(fates=(gone,)))
    async with setting.hq() as scene:
        box = scene.box()
        await box.admit()
        assert (await ended(box)).message["status"] == "issued"
    assert len(setting.ca.ledger.of("issued")) == 1


async def test_an_order_forgotten_after_finalize_is_never_begun_again(stage: SetStage) -> None:
    """It may have been issued: never two certificates for one CSR."""
    fates = (
        Fate(on="finalize", form="drop", acts=True),
        Fate(on="order", status=404, type="malformed", detail="no such order", skip=3, times=None),
    )
    setting = await stage(Script(fates=fates, processing_polls=50))
    async with setting.hq() as scene:
        box = scene.box()
        await box.admit()
        reply = await ended(box)
        assert reply.message["status"] == "failed"
        assert "no such order" in reply.message["why"]
    assert len(setting.ca.ledger.of("issued")) == 1
    assert len(setting.ca.ledger.of("newOrder")) == 1


async def test_an_order_that_is_processed_for_long_is_waited_for(stage: SetStage) -> None:
    setting = await stage(Script(processing_polls=11, retry_after=None))
    async with setting.hq() as scene:
        box = scene.box()
        await box.admit()
        assert (await ended(box)).message["status"] == "issued"
    assert len(setting.ca.ledger.of("finalize")) == 1


async def test_a_ca_that_stays_down_is_asked_less_and_less(stage: SetStage) -> None:
    setting = await stage(Script(fates=(Fate(on="newOrder", status=500, times=None),)))
    async with setting.hq() as scene:
        box = scene.box()
        await box.admit()
        waited: list[int] = []
        async with asyncio.timeout(PATIENCE_S):
            for attempt in range(1, 8):
                await _until_attempt(scene, attempt)
                ((next_at_s,),) = await scene.hq.rows("SELECT next_at_s FROM cert_order")
                waited.append(next_at_s - scene.hq.hq.now_s())
                scene.hq.clock.ahead_s += waited[-1] + 1
                scene.hq.wake()
        assert waited[:6] == sorted(waited[:6])  # from then on the same 15 minutes, with jitter
        assert waited[-1] >= 890
        setting.ca.follow(Script())
        scene.hq.clock.ahead_s += 1201
        scene.hq.wake()
        assert (await ended(box)).message["status"] == "issued"
        assert len(await waits(scene)) == 7


async def _until_attempt(scene: Scene, attempt: int) -> None:
    sql = "SELECT 1 FROM cert_order WHERE attempt >= ?"
    while not await scene.hq.rows(sql, attempt):  # noqa: ASYNC110 - looked at from outside: nothing signals it
        await asyncio.sleep(0.01)


async def test_nothing_is_asked_of_the_ca_while_the_store_cannot_be_written(stage: SetStage) -> None:
    setting = await stage(Script(fates=(Fate(on="newOrder", status=500, times=None),)))
    async with setting.hq() as scene:
        box = scene.box()
        await box.admit()
        await waits(scene)
        writer = scene.hq.store._writer
        writer.execute("PRAGMA query_only = ON")
        before = setting.ca.ledger.requests["newOrder"]
        scene.hq.clock.ahead_s += 30
        scene.hq.wake()
        await asyncio.sleep(1.5)
        assert setting.ca.ledger.requests["newOrder"] - before <= 3
        writer.execute("PRAGMA query_only = OFF")
        setting.ca.follow(Script())
        scene.hq.clock.ahead_s += 30
        assert (await ended(box)).message["status"] == "issued"


async def test_two_orders_of_one_box_at_a_ca_that_reuses_orders_end_both(stage: SetStage) -> None:
    setting = await stage(Script(answer_delay_s=0.05))
    async with setting.hq() as scene:
        box = scene.box()
        await box.admit()
        first = box.order_path
        (await box.renew()).granted()
        second = box.order_path
        assert first != second
        for path in (first, second):
            box.order_url = scene.hq.url + path
            assert (await ended(box)).message["status"] == "issued"
    issued = setting.ca.ledger.of("issued")
    assert len(issued) == len({entry.spki_sha256 for entry in issued}) == 2


async def test_one_box_that_fails_does_not_hold_up_the_others(stage: SetStage) -> None:
    setting = await stage(Script(fates=(Fate(on="order", form="drop", times=1),)))
    async with setting.hq(max_in_flight=2) as scene:
        boxes = [scene.box() for _ in range(12)]
        for box in boxes:
            await box.admit()
        replies = await asyncio.gather(*(ended(box) for box in boxes))
        assert {reply.message["status"] for reply in replies} == {"issued"}
    assert len(setting.ca.ledger.of("issued")) == 12
