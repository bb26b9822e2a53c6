"""What shows that two boxes are one, or that one is two: repeated grants, forks, equal canaries, first keys."""

from __future__ import annotations

import hashlib
import json
import secrets
from typing import Any

import pytest
from hq.tests.api.conftest import StartScene

from otscert.domain.device import Retired
from otscert.service import lifecycle
from otscert.store.certificates import Certificate
from otscert.store.transaction import Transaction
from otscert_agent.wire.messages import PATH_HELLO, Hello
from otscert_agent.wire.problems import ProblemType
from tests.harness.box import DROP, Box, random_signer
from tests.harness.hq import DAY_S, default_models, make_model
from tests.harness.scene import Scene, assert_says

ANSWER = "otscert-v1-checkin-answer"
CANARY = "c0" * 32


async def events(scene: Scene, kind: str) -> list[dict[str, Any]]:
    return [json.loads(row[0]) for row in await scene.hq.rows("SELECT data FROM event WHERE kind = ?", kind)]


async def marks(scene: Scene) -> list[tuple[Any, ...]]:
    return await scene.hq.rows("SELECT model, kind FROM model_mark ORDER BY model")


# ---- a grant is repeated for a box that lost it, and for nobody else


async def test_a_grant_is_not_repeated_once_its_order_was_polled(scene: Scene) -> None:
    box = scene.box()
    await box.admit()
    (await box.enroll()).granted()  # its answer was lost
    scene.hq.clock.ahead_s = 1
    polling = box.sign(box.identity, "otscert-v1-order", box.order_path, None)
    order = (await scene.hq.rows("SELECT id FROM cert_order"))[0][0]

    def fail(transaction: Transaction) -> None:  # so that the poll is answered at once
        transaction._connection.execute("UPDATE cert_order SET state = 'failed' WHERE id = ?", (order,))

    await scene.hq.store.write(fail)
    await box.post(box.order_path, polling)
    # A copy of the flash from before the grant was stored: it knows the txid and the CSR.
    reply = await box.enroll()
    assert_says(reply, 404, "asked for already")
    assert reply.problem is ProblemType.UNKNOWN_TXID
    assert "after its order was polled" in (await events(scene, "clone.seen"))[0]["reason"]
    assert (await box.check_in()).typ == ANSWER


async def test_a_copy_from_before_the_grant_is_seen_at_the_first_check_ins(scene: Scene) -> None:
    """Both ask for the grant before either has polled: nobody can tell them apart yet, their tokens will."""
    box = scene.box()
    await box.admit()
    token = box.epoch_token
    (await box.enroll()).granted()
    copied = box.epoch_token
    assert (await box.check_in(epoch_token=token, keep=False)).typ == ANSWER
    assert len(await events(scene, "device.resync")) == 1
    assert_says(await box.check_in(epoch_token=copied), 409, "two boxes share this identity")
    assert len(await events(scene, "clone.frozen")) == 1


async def test_a_frozen_box_that_is_left_alone_comes_back_after_rearming(scene: Scene) -> None:
    box = scene.box()
    await box.admit()
    old = box.epoch_token
    await box.check_in()
    clone = await box.check_in(epoch_token=old, keep=False)
    assert clone.typ == ANSWER
    assert (await box.check_in()).problem is ProblemType.STALE_EPOCH

    def rearm(transaction: Transaction) -> None:
        (device,) = transaction.devices.page(after_id="", limit=2)
        lifecycle.rearm(transaction, device, None, same_board=False, now_s=scene.hq.hq.now_s())

    await scene.hq.store.write(rearm)
    assert (await box.check_in()).typ == ANSWER  # the clone was taken away; this one has the older token
    (await box.renew()).granted()
    # And if it was not taken away, its next call shows it again.
    assert (await box.check_in(epoch_token=clone.message["epoch_token"], keep=False)).problem is (
        ProblemType.STALE_EPOCH
    )
    assert len(await events(scene, "clone.frozen")) == 2


async def test_a_quarantined_box_that_is_also_forked_does_not_fill_the_record(scene: Scene) -> None:
    box = scene.box()
    await box.admit()
    old = box.epoch_token
    await box.check_in()
    assert (await box.check_in(epoch_token=old)).typ == ANSWER

    def hold(transaction: Transaction) -> None:
        (device,) = transaction.devices.page(after_id="", limit=2)
        lifecycle.quarantine(transaction, device, reason="", now_s=scene.hq.hq.now_s())

    await scene.hq.store.write(hold)
    for _ in range(5):
        assert (await box.check_in(epoch_token=old, keep=False)).problem is ProblemType.STALE_EPOCH
    assert await events(scene, "clone.frozen") == []
    assert await scene.hq.rows("SELECT state FROM device") == [("quarantined",)]


# ---- canaries


async def test_equal_canaries_of_two_boxes_are_told_once_and_mark_the_model(scene: Scene) -> None:
    first, second = scene.box(), scene.box(fingerprint="another board")
    await first.hello(canary=CANARY, boot=1)
    await first.enroll()
    await second.hello(canary=CANARY, boot=1)
    await second.enroll()
    for _ in range(3):
        await second.check_in(canary=CANARY, boot=1)
        await first.check_in(canary=CANARY, boot=1)
    (told,) = await events(scene, "rng.repeats")
    ids = {row[0] for row in await scene.hq.rows("SELECT id FROM device")}
    assert told["device_before"] in ids
    assert told["canary"] == CANARY
    assert await marks(scene) == [("box", "rng.repeats")]


async def test_two_starts_of_one_box_with_one_canary_are_told(scene: Scene) -> None:
    box = scene.box()
    await box.hello(canary=CANARY, boot=1)
    await box.enroll()
    await box.check_in(canary=CANARY, boot=1)
    assert await events(scene, "rng.repeats") == []  # the same start said it twice
    await box.check_in(canary=CANARY, boot=2)
    await box.check_in(canary=CANARY, boot=2)
    (told,) = await events(scene, "rng.repeats")
    assert (told["boot_before"], told["boot"]) == (1, 2)
    assert await marks(scene) == [("box", "rng.repeats")]


async def test_models_are_both_marked_when_their_boxes_repeat_each_other(start: StartScene) -> None:
    scene = await start(models=default_models() | {"camera": make_model("camera")})
    for model in ("box", "camera"):
        box = scene.box(model=model)
        await box.hello(canary=CANARY)
        await box.enroll()
    assert await marks(scene) == [("box", "rng.repeats"), ("camera", "rng.repeats")]


async def test_twins_that_say_the_very_same_hello_are_told_by_their_canary(scene: Scene) -> None:
    """A cloned image without entropy: one key, one message. HQ's r makes two keys of it, the canary says what it is."""
    twins = [scene.box(), scene.box()]
    twins[1].hello_key = twins[0].hello_key
    message = twins[0].hello_message(canary=CANARY, boot=1)
    body = twins[0].sign(twins[0].hello_key, Hello.TYP, PATH_HELLO, message, introduce=True)
    twins[1].d0 = twins[0].d0
    for twin in twins:
        twin.take_challenge(await twin.post(PATH_HELLO, body))
    for twin in twins:
        (await twin.enroll()).granted()
    assert twins[0].names != twins[1].names
    assert len(await events(scene, "rng.repeats")) == 1
    assert await marks(scene) == [("box", "rng.repeats")]


async def test_a_lost_challenge_is_no_sign(scene: Scene) -> None:
    box = scene.box()
    for _ in range(2):
        await box.hello(canary=CANARY, boot=1)
    (await box.enroll()).granted()
    await box.check_in(canary=CANARY, boot=1)
    assert await marks(scene) == []


async def test_a_box_that_starts_over_without_a_start_has_its_canary_still(scene: Scene) -> None:
    box = scene.box()
    await box.hello(canary=CANARY, boot=7)
    await box.enroll()

    def reset(transaction: Transaction) -> None:
        (device,) = transaction.devices.page(after_id="", limit=2)
        lifecycle.end(transaction, device, Retired.RESET, revoke=False, now_s=scene.hq.hq.now_s())

    await scene.hq.store.write(reset)
    again = scene.box()
    await again.hello(canary=CANARY, boot=7)
    (await again.enroll()).granted()
    assert await marks(scene) == []
    twin = scene.box(fingerprint="another board")
    await twin.hello(canary=CANARY, boot=7)
    (await twin.enroll()).granted()
    assert await marks(scene) == [("box", "rng.repeats")]


@pytest.mark.parametrize("canary", ["", "00", "C0" * 32, "c0" * 31])
async def test_what_is_no_canary_proves_nothing(scene: Scene, canary: str) -> None:
    for _ in range(2):
        box = scene.box()
        await box.hello(canary=canary)
        (await box.enroll()).granted()
    assert await marks(scene) == []
    assert await scene.hq.count("canary") == 0


async def test_a_box_that_starts_all_the_time_does_not_fill_the_disk(scene: Scene) -> None:
    box = scene.box()
    await box.admit()
    for boot in range(60):
        await box.check_in(canary=hashlib.sha256(secrets.token_bytes(8)).hexdigest(), boot=boot)
    assert await scene.hq.count("canary") == 50


# ---- the first key is replaced early


async def healing(start: StartScene, *, days: int = 3) -> tuple[Scene, Box]:
    """A box of a model that replaces first keys after `days`, with a certificate."""
    scene = await start(models=default_models() | {"box": make_model("box", rekey_after_s=days * DAY_S)})
    box = scene.box()
    await box.admit()
    await certify(scene, "first", life_days=90)
    return scene, box


async def certify(scene: Scene, name: str, *, life_days: int) -> None:
    """A certificate for the newest order, as the worker enters it."""
    now_s = scene.hq.hq.now_s()

    def add(transaction: Transaction) -> None:
        ((order_id, device_id),) = transaction._connection.execute(
            "SELECT id, device_id FROM cert_order WHERE state = 'waiting'"
        ).fetchall()
        transaction._connection.execute("UPDATE cert_order SET state = 'issued' WHERE id = ?", (order_id,))
        transaction.certificates.add(
            Certificate(
                sha256=hashlib.sha256(name.encode()).hexdigest(),
                device_id=device_id,
                order_id=order_id,
                issuer="scripted",
                serial="1",
                spki_sha256=b"",
                not_before_s=now_s,
                not_after_s=now_s + life_days * DAY_S,
                chain_pem="",
                issued_at_s=now_s,
                served_at_s=None,
            )
        )

    await scene.hq.store.write(add)


async def told(box: Box) -> tuple[list[str], int]:
    answer = (await box.check_in()).message
    return [command["name"] for command in answer["commands"]], answer["next_checkin_s"]


async def test_a_first_key_with_an_open_contribution_is_replaced_after_the_models_time(start: StartScene) -> None:
    scene, box = await healing(start)
    assert (await told(box))[0] == []
    scene.hq.clock.ahead_s = 3 * DAY_S - 1800
    names, next_s = await told(box)
    assert names == []
    assert 1800 <= next_s <= 2101  # it is asked to call when it is due
    scene.hq.clock.ahead_s = 3 * DAY_S
    answer = (await box.check_in()).message
    assert [command["name"] for command in answer["commands"]] == ["rekey"]
    assert "open contribution" in answer["commands"][0]["reason"]
    (await box.renew()).granted()
    await certify(scene, "second", life_days=90)
    scene.hq.clock.ahead_s = 20 * DAY_S
    names, next_s = await told(box)
    assert names == []  # the second one lives its life
    assert next_s > 19_000


async def test_a_renewal_that_is_due_is_a_renewal(start: StartScene) -> None:
    scene, box = await healing(start, days=70)
    scene.hq.clock.ahead_s = 75 * DAY_S
    assert (await told(box))[0] == ["renew"]


async def test_a_model_without_early_rekey_leaves_first_keys_alone(start: StartScene) -> None:
    scene, box = await healing(start, days=0)
    scene.hq.clock.ahead_s = 50 * DAY_S
    assert (await told(box))[0] == []


async def test_a_box_whose_serial_was_blocked_is_not_told_to_renew_for_nothing(start: StartScene) -> None:
    scene = await start()
    box = scene.box()
    await box.hello(serial="S1")
    (await box.enroll()).granted()
    await certify(scene, "first", life_days=90)
    await scene.hq.store.write(lambda t: t.units.block_serial("box", "S1", reason="stolen", now_s=1))
    scene.hq.clock.ahead_s = 70 * DAY_S
    names, next_s = await told(box)
    assert (names, next_s > 3600) == ([], True)
    assert (await box.hello(signer=box.identity, epoch_token=box.epoch_token)).problem is ProblemType.BLOCKED_UNIT


async def test_a_key_of_nobody_cannot_hide_a_copied_binding(scene: Scene) -> None:
    """An identity that belongs to a device cannot be brought into another enrolment."""
    box = scene.box()
    await box.admit()
    other = scene.box()
    await other.hello()
    other.identity = box.identity
    other.seqs = box.seqs
    assert_says(await other.enroll(), 400, "belongs to a device already")
    stranger = scene.box(hello_key=random_signer())
    await stranger.hello()
    reply = await stranger.enroll(binding=DROP)
    assert reply.problem is ProblemType.BAD_SIGNATURE
