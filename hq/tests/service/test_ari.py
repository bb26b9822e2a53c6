"""HQ asks the CA when to renew: how often, for whom, and what the box is told when the window moves."""

from __future__ import annotations

import asyncio
import time
import zlib
from datetime import UTC, datetime
from typing import Any

import pytest
from hq.tests.service.conftest import SetStage

from otscert.domain.device import DeviceState
from otscert.service.ari import AskingWhen
from tests.harness.box import Box, leaf_sha256
from tests.harness.hq import DAY_S
from tests.harness.scene import Scene
from tests.scripted_ca import Fate, Script

EXPLANATION = "https://ca.example/incident"


def said(start_s: float, end_s: float, **more: Any) -> dict[str, Any]:
    """A RenewalInfo with a window from now."""
    texts = [datetime.fromtimestamp(time.time() + each, UTC).isoformat() for each in (start_s, end_s)]
    return {"suggestedWindow": {"start": texts[0], "end": texts[1]}, **more}


def asking(scene: Scene, **changes: Any) -> AskingWhen:
    return AskingWhen(hq=scene.hq.hq, store=scene.hq.store, sources={"scripted": scene.hq.issuer}, **changes)


async def served_box(scene: Scene) -> tuple[Box, str]:
    """A box with its certificate, which it serves."""
    box = scene.box()
    await box.admit()
    reply = await box.poll()
    assert reply.message["status"] == "issued", reply.message
    sha256 = leaf_sha256(reply.message["chain"])
    await box.check_in(served_sha256=sha256)
    return box, sha256


async def plan(scene: Scene) -> dict[str, Any]:
    names = ("ari_start_s", "ari_end_s", "renew_at_s", "ari_told_s", "ari_next_poll_s", "ari_explanation")
    (row,) = await scene.hq.rows(f"SELECT {', '.join(names)} FROM certificate ORDER BY issued_at_s DESC LIMIT 1")  # noqa: S608
    return dict(zip(names, row, strict=True))


async def commands(box: Box, served: str) -> list[dict[str, Any]]:
    return list((await box.check_in(served_sha256=served)).message["commands"])


async def ask_now(scene: Scene, worker: AskingWhen) -> int:
    """Ask whatever was planned, as when its time had come."""
    await scene.hq.store.write(lambda transaction: transaction.certificates.ari_bring_back(from_s=0, now_s=0))
    return await worker.once()


async def test_the_moment_lies_in_the_window_is_kept_and_decides_when_the_box_calls(stage: SetStage) -> None:
    setting = await stage()
    async with setting.hq() as scene:
        box, served = await served_box(scene)
        scene.hq.clock.ahead_s = 700  # past the spread of first questions
        worker = asking(scene)
        assert [await worker.once(), await worker.once()] == [1, 0]
        first = await plan(scene)
        assert first["ari_start_s"] <= first["renew_at_s"] <= first["ari_end_s"]
        now_s = scene.hq.hq.now_s()
        assert 6 * 3600 - 2 <= first["ari_next_poll_s"] - now_s <= 6.6 * 3600
        await ask_now(scene, worker)
        assert (await plan(scene))["renew_at_s"] == first["renew_at_s"]
        assert (await plan(scene))["ari_told_s"] == first["ari_told_s"]
        # The window is open where the last third begins: the box is not made to wait for a later moment in it.
        ((due_s,),) = await scene.hq.rows("SELECT due_s FROM newest_certificate")
        assert due_s <= first["renew_at_s"]
        scene.hq.clock.ahead_s += due_s - now_s - 1000
        answer = (await box.check_in(served_sha256=served)).message
        assert answer["commands"] == []
        assert 1000 <= answer["next_checkin_s"] <= 1302
        scene.hq.clock.ahead_s += 1001
        (command,) = await commands(box, served)
        assert command["name"] == "renew"
        assert "window that the CA suggests" in command["reason"]


async def test_a_window_moved_into_the_past_renews_at_the_next_check_in_as_a_replacement(stage: SetStage) -> None:
    """The whole path: the CA moves the window, the box is told at its next call, the order says what it replaces."""
    setting = await stage()
    async with setting.hq() as scene:
        box, served = await served_box(scene)
        worker = asking(scene)
        await ask_now(scene, worker)
        assert await commands(box, served) == []
        setting.ca.follow(Script(renewal_info=said(-3000, -1800, explanationURL=EXPLANATION)))
        await ask_now(scene, worker)
        assert (await plan(scene))["ari_explanation"] == EXPLANATION
        assert "renewal.incident" in await scene.hq.event_kinds()
        (command,) = await commands(box, served)
        assert command["name"] == "renew"
        assert "lies in the past" in command["reason"]
        (await box.renew()).granted()
        reply = await box.poll()
        assert reply.message["status"] == "issued"
        renewed = leaf_sha256(reply.message["chain"])
        assert renewed != served
        first, second = setting.ca.ledger.of("issued")
        assert first.replaces is None
        ((replaces,),) = await scene.hq.rows("SELECT replaces FROM cert_order WHERE replaces IS NOT NULL")
        assert second.replaces == replaces
        # What is replaced is not asked for any more, and the new one's own window is its own.
        setting.ca.follow(Script())
        before = setting.ca.ledger.requests["renewalInfo"]
        await ask_now(scene, worker)
        assert setting.ca.ledger.requests["renewalInfo"] == before + 1
        assert await worker.once() == 0
        assert await commands(box, renewed) == []


async def test_a_window_that_moves_without_haste_is_noted_and_the_moment_drawn_again(stage: SetStage) -> None:
    setting = await stage()
    async with setting.hq() as scene:
        box, served = await served_box(scene)
        worker = asking(scene)
        await ask_now(scene, worker)
        setting.ca.follow(Script(renewal_info=said(DAY_S, 2 * DAY_S)))
        await ask_now(scene, worker)
        moved = await plan(scene)
        assert moved["ari_start_s"] <= moved["renew_at_s"] <= moved["ari_end_s"] < time.time() + 3 * DAY_S
        assert "renewal.moved" in await scene.hq.event_kinds()
        assert await commands(box, served) == []
        scene.hq.clock.ahead_s = 3 * DAY_S
        assert [command["name"] for command in await commands(box, served)] == ["renew"]


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"suggestedWindow": "soon"},
        said(1000, 500),
        said(-10 * 365 * DAY_S, 40 * 365 * DAY_S),
        said(-20 * DAY_S, -19 * DAY_S),
    ],
    ids=["nothing", "a text", "ends before its start", "fifty years", "over before the certificate was"],
)
async def test_a_window_that_cannot_be_meant_leaves_the_fallback(stage: SetStage, document: dict[str, Any]) -> None:
    setting = await stage(Script(renewal_info=document or {"else": 1}))
    async with setting.hq() as scene:
        box, served = await served_box(scene)
        await ask_now(scene, asking(scene))
        found = await plan(scene)
        assert found["renew_at_s"] is None
        assert found["ari_next_poll_s"] > scene.hq.hq.now_s() + 600
        assert await commands(box, served) == []
        scene.hq.clock.ahead_s = 31 * DAY_S
        (command,) = await commands(box, served)
        assert "a third" in command["reason"]


@pytest.mark.parametrize(
    ("fate", "least_s", "most_s"),
    [
        (Fate(on="renewalInfo", status=500, times=None), 900, 1800),
        (Fate(on="renewalInfo", form="cut", times=None), 900, 1800),
        (Fate(on="renewalInfo", form="drop", times=None), 900, 1800),
        (Fate(on="renewalInfo", status=503, form="html", retry_after="7200", times=None), 7200, 7920),
        (Fate(on="renewalInfo", status=404, type="malformed", times=None), 21_600, 23_760),
    ],
    ids=["500", "cut", "drop", "503 with Retry-After", "404"],
)
async def test_errors_back_off_and_what_was_known_stays(stage: SetStage, fate: Fate, least_s: int, most_s: int) -> None:
    setting = await stage()
    async with setting.hq() as scene:
        await served_box(scene)
        worker = asking(scene)
        await ask_now(scene, worker)
        known = await plan(scene)
        setting.ca.follow(Script(fates=(fate,)))
        await ask_now(scene, worker)
        now = await plan(scene)
        assert now["renew_at_s"] == known["renew_at_s"]
        assert least_s - 5 <= now["ari_next_poll_s"] - scene.hq.hq.now_s() <= most_s
        assert await worker.once() == 0


async def test_a_ca_that_does_not_answer_holds_nothing_up(stage: SetStage) -> None:
    setting = await stage()
    async with setting.hq() as scene:
        await served_box(scene)
        setting.ca.follow(Script(answer_delay_s=30))
        async with asyncio.timeout(10):
            assert await ask_now(scene, asking(scene, answer_within_s=0.2)) == 1
        assert (await plan(scene))["ari_next_poll_s"] > scene.hq.hq.now_s() + 800


async def test_a_poisoned_certificate_keeps_no_other_from_being_asked_for(stage: SetStage) -> None:
    setting = await stage()
    async with setting.hq() as scene:
        await served_box(scene)
        (poisoned,) = await scene.hq.rows("SELECT sha256 FROM certificate")
        await scene.hq.store.write(
            lambda transaction: transaction._connection.execute(
                "UPDATE certificate SET leaf = ?", (zlib.compress(b"poison"),)
            )
        )
        await served_box(scene)
        assert await ask_now(scene, asking(scene)) == 2
        rows = await scene.hq.rows("SELECT sha256 FROM certificate WHERE renew_at_s IS NULL")
        assert rows == [poisoned]


async def test_two_askers_ask_once(stage: SetStage) -> None:
    setting = await stage()
    async with setting.hq() as scene:
        for _ in range(3):
            await served_box(scene)
        scene.hq.clock.ahead_s = 700
        await asyncio.gather(asking(scene).once(), asking(scene).once())
        assert setting.ca.ledger.requests["renewalInfo"] == 3


async def test_nothing_is_asked_for_boxes_that_may_not_work_or_certificates_that_ended(stage: SetStage) -> None:
    setting = await stage()
    async with setting.hq() as scene:
        await served_box(scene)
        ((device_id,),) = await scene.hq.rows("SELECT id FROM device")
        await scene.hq.store.write(
            lambda transaction: transaction.devices.set_state(device_id, DeviceState.QUARANTINED)
        )
        worker = asking(scene)
        await ask_now(scene, worker)
        assert (await plan(scene))["ari_next_poll_s"] > scene.hq.hq.now_s() + 6 * 3600 - 5
        await scene.hq.store.write(lambda transaction: transaction.devices.set_state(device_id, DeviceState.ACTIVE))
        scene.hq.clock.ahead_s = 100 * DAY_S
        await ask_now(scene, worker)
        assert (await plan(scene))["ari_next_poll_s"] is None
        assert setting.ca.ledger.requests["renewalInfo"] == 0


async def test_the_worker_asks_by_itself_and_again_where_a_wrong_clock_had_put_it_off(stage: SetStage) -> None:
    setting = await stage()
    async with setting.hq() as scene:
        await served_box(scene)
        far_s = scene.hq.hq.now_s() + 300 * DAY_S
        await scene.hq.store.write(lambda transaction: transaction.certificates.ari_bring_back(from_s=0, now_s=far_s))
        working = asyncio.create_task(asking(scene).work())
        try:
            async with asyncio.timeout(10):
                while (await plan(scene))["renew_at_s"] is None:  # noqa: ASYNC110 - a row is no event
                    await asyncio.sleep(0.02)
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)
