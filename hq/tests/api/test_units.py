"""Stamped units at the device API: sealed keys, factory resets, two boards with one secret, blocked serial numbers."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from hq.tests.api.conftest import StartScene

from otscert.domain.assurance import Contribution
from otscert.domain.device import Retired
from otscert.domain.unit import UnitState
from otscert.service import lifecycle
from otscert_agent.wire.problems import ProblemType
from tests.harness.hq import DAY_S, default_models
from tests.harness.scene import Scene, assert_says
from tests.harness.unit import MODEL, UnitBox, import_units, stamp, stamped_model

ANSWER = "otscert-v1-checkin-answer"
StartUnits = Callable[..., Awaitable[tuple[Scene, UnitBox]]]


@pytest.fixture
def start_units(start: StartScene) -> StartUnits:
    """HQ with a model for stamped units, and one unit of an imported manifest that was never switched on."""

    async def begin(**changes: Any) -> tuple[Scene, UnitBox]:
        scene = await start(models=default_models() | {MODEL: stamped_model(**changes)})
        factory, unit = stamp("S1")
        await import_units(scene.hq, unit)
        return scene, UnitBox(hq=scene.hq, session=scene.session, factory=factory)

    return begin


async def unit_state(scene: Scene) -> tuple[Any, ...]:
    ((*row,),) = await scene.hq.rows("SELECT state, device_id, fingerprint FROM factory_unit")
    return tuple(row)


async def devices(scene: Scene) -> list[tuple[Any, ...]]:
    return await scene.hq.rows("SELECT state, retired, label FROM device ORDER BY admitted_at_s, rowid")


async def test_a_unit_is_admitted_by_its_key_and_hqs_randomness_is_sealed(start_units: StartUnits) -> None:
    scene, box = await start_units(min_contribution=Contribution.SEALED)
    await box.hello(serial="what the firmware believes")
    assert box.challenge["asks"] == []
    assert "open" not in {name for name, value in box.challenge["contribution"].items() if value}
    device_id = (await box.enroll()).granted()["device_id"]
    rows = await scene.hq.rows("SELECT policy, contribution, serial, unit FROM device")
    assert rows == [("factory", "sealed", "S1", box.factory.public.thumbprint())]
    assert await unit_state(scene) == ("stamped", device_id, box.fingerprint)
    ((data,),) = await scene.hq.rows("SELECT data FROM event WHERE kind = 'device.admitted'")
    assert json.loads(data)["contribution"] == "sealed"


async def test_renewals_of_a_unit_are_sealed_too(start_units: StartUnits) -> None:
    _, box = await start_units()
    await box.admit()
    (await box.renew()).granted()
    assert box.opened == ["sealed", "sealed"]


async def test_the_factory_key_signs_hello_only(start_units: StartUnits) -> None:
    _, box = await start_units()
    await box.hello()
    box.identity = box.hello_key
    assert_says(await box.enroll(introduce=False), 401, "the hello key signs hello only")


async def test_another_units_factory_key_is_no_identity(start_units: StartUnits) -> None:
    scene, box = await start_units()
    factory, unit = stamp("S2")
    await import_units(scene.hq, unit)
    await box.hello()
    box.identity = factory.signer()
    assert_says(await box.enroll(), 401, "this is a unit's factory key")


async def test_a_factory_reset_gives_a_new_name_and_ends_the_old_one(start_units: StartUnits) -> None:
    scene, box = await start_units()
    await box.admit()
    old_label, old_identity, old_token = box.label, box.identity, box.epoch_token
    box.reset()
    await box.admit()
    assert box.label != old_label
    assert await devices(scene) == [("retired", "replaced", old_label), ("active", None, box.label)]
    assert await scene.hq.rows("SELECT label FROM name WHERE label = ?", old_label) == [(old_label,)]
    states = await scene.hq.rows("SELECT state FROM cert_order ORDER BY created_at_s, rowid")
    assert states == [("failed",), ("waiting",)]  # nobody has the key that the first one was for
    # Whoever still has the old identity is told so, whatever he asks.
    for reply in (
        await box.check_in(signer=old_identity, epoch_token=old_token),
        await box.hello(signer=old_identity, epoch_token=old_token),
    ):
        assert_says(reply, 409, "the unit has enrolled again since")
        assert reply.problem is ProblemType.START_OVER
    assert (await scene.hq.event_kinds()).count("clone.seen") == 2
    assert (await box.check_in()).typ == ANSWER


async def test_the_third_name_in_thirty_days_is_the_second_one_with_another_key(start_units: StartUnits) -> None:
    scene, box = await start_units()
    labels, identities = [], []
    for _ in range(3):
        await box.admit()
        labels.append(box.label)
        identities.append(box.identity)
        box.reset()
    assert labels[0] != labels[1] == labels[2]
    rows = await scene.hq.rows("SELECT label, thumbprint FROM device WHERE retired IS NULL")
    assert rows == [(labels[1], identities[2].public.thumbprint())]
    states = await scene.hq.rows("SELECT state FROM cert_order ORDER BY created_at_s, rowid")
    assert states == [("failed",), ("failed",), ("waiting",)]
    reply = await box.check_in(signer=identities[1], epoch_token=box.epoch_token)
    assert_says(reply, 409, "under the same name: this identity is over")
    assert reply.problem is ProblemType.START_OVER
    reply = await box.hello(signer=identities[1], epoch_token=box.epoch_token)
    assert reply.problem is ProblemType.START_OVER
    scene.hq.clock.ahead_s = 31 * DAY_S
    await box.admit()
    assert box.label not in labels


async def test_a_kept_name_is_still_bound_by_the_cas_limit(start_units: StartUnits) -> None:
    """Four certificates a week for one set of names; the box keeps what it has and is told how long to wait."""
    scene, box = await start_units()
    for _ in range(5):
        await box.admit()  # two names, then three more certificates for the second
        box.reset()
    await box.hello()
    reply = await box.enroll()
    assert_says(reply, 429, "already had 4 certificates lately")
    assert reply.message["retry_after_s"] > 0
    assert len(await devices(scene)) == 2


async def test_hellos_said_in_advance_do_not_get_more_names(start_units: StartUnits) -> None:
    scene, box = await start_units()
    hellos = []
    for _ in range(3):
        await box.hello()
        hellos.append((box.challenge, box.d0, box.r))
    replies = []
    for box.challenge, box.d0, box.r in hellos:
        identity = box.identity
        replies.append(await box.enroll())
        box.reset()
        assert box.identity is not identity
    assert [reply.status for reply in replies] == [200, 200, 404]
    assert_says(replies[2], 404, "2 new names in 30 days", "say hello again")
    assert len(await devices(scene)) == 2


async def test_a_name_that_was_offered_again_is_not_given_once_it_was_taken_back(start_units: StartUnits) -> None:
    scene, box = await start_units()
    for _ in range(2):
        await box.admit()
        box.reset()
    await box.hello()
    offered = box.label

    def take_back(transaction: Any) -> None:
        device = transaction.devices.find(offered)
        lifecycle.end(transaction, device, Retired.RESET, revoke=False, now_s=scene.hq.hq.now_s())

    await scene.hq.store.write(take_back)
    assert_says(await box.enroll(), 404, "no longer this unit's")
    await box.admit()
    assert box.label != offered


async def test_a_second_board_with_one_secret_is_seen_and_nobody_is_served(start_units: StartUnits) -> None:
    scene, box = await start_units()
    await box.admit()
    token = box.epoch_token
    copy = UnitBox(hq=scene.hq, session=scene.session, factory=box.factory, fingerprint="another board")
    copy.seqs = box.seqs
    reply = await copy.hello()
    assert_says(reply, 403, "another board than before", "otscert device rearm")
    assert reply.problem is ProblemType.BLOCKED_UNIT
    assert reply.message["retry_after_s"] == DAY_S
    assert (await unit_state(scene))[0] == "quarantined"
    assert (await devices(scene))[0][0] == "quarantined"
    assert (await scene.hq.event_kinds()).count("unit.cloned") == 1
    assert_says(await copy.hello(), 403, "is quarantined")
    # The board that was first goes on with what it has, but gets nothing new.
    assert (await box.check_in()).typ == ANSWER
    assert_says(await box.hello(signer=box.identity, epoch_token=box.epoch_token), 403, "is quarantined")
    assert token != box.epoch_token
    assert (await scene.hq.event_kinds()).count("unit.cloned") == 1


async def test_two_boards_that_said_hello_before_either_enrolled_are_told_apart(start_units: StartUnits) -> None:
    scene, box = await start_units()
    copy = UnitBox(hq=scene.hq, session=scene.session, factory=box.factory, fingerprint="another board")
    copy.seqs = box.seqs
    await box.hello()
    await copy.hello()
    (await box.enroll()).granted()
    reply = await copy.enroll()
    assert_says(reply, 403, "another board than before")
    assert (await unit_state(scene))[0] == "quarantined"
    assert await scene.hq.count("device") == 1
    assert "unit.cloned" in await scene.hq.event_kinds()


@pytest.mark.parametrize("same_board", [False, True])
async def test_an_operator_lets_a_changed_board_in_or_keeps_it_out(
    start_units: StartUnits, *, same_board: bool
) -> None:
    scene, box = await start_units()
    await box.admit()
    swapped = UnitBox(hq=scene.hq, session=scene.session, factory=box.factory, fingerprint="another board")
    swapped.seqs = box.seqs
    await swapped.hello()

    def rearm(transaction: Any) -> None:
        unit = transaction.units.by_serial(MODEL, "S1")
        device = transaction.devices.get(unit.device_id)
        lifecycle.rearm(transaction, device, unit, same_board=same_board, now_s=scene.hq.hq.now_s())

    await scene.hq.store.write(rearm)
    assert (await unit_state(scene))[0] == ("confirmed" if same_board else "stamped")
    reply = await swapped.hello()
    if same_board:
        assert_says(reply, 403, "another board than the one that HQ's operator confirmed")
        # The copy calls again every day; it does not hold the box a second time, and is told of all the same.
        assert [row[0] for row in await devices(scene)] == ["active"]
        assert (await scene.hq.event_kinds()).count("unit.cloned") == 2
        (await box.renew()).granted()
        return
    (await swapped.enroll()).granted()
    ((now_is,),) = await scene.hq.rows("SELECT id FROM device WHERE retired IS NULL")
    assert await unit_state(scene) == ("stamped", now_is, "another board")


@pytest.mark.parametrize("moment", ["before hello", "between hello and enrolment", "before renewal"])
async def test_a_blocked_serial_number_is_refused_whenever_it_is_blocked(start_units: StartUnits, moment: str) -> None:
    scene, box = await start_units()
    if moment == "before renewal":
        await box.admit()
    elif moment == "between hello and enrolment":
        await box.hello()
    await scene.hq.store.write(lambda t: t.units.block_serial(MODEL, "S1", reason="stolen", now_s=scene.hq.hq.now_s()))
    if moment == "between hello and enrolment":
        reply = await box.enroll()
    else:
        signer = box.identity if moment == "before renewal" else box.hello_key
        reply = await box.hello(signer=signer, epoch_token=box.epoch_token or None)
    assert_says(reply, 403, "'S1' is blocked", "stolen")
    assert reply.problem is ProblemType.BLOCKED_UNIT
    await scene.hq.store.write(lambda t: t.units.unblock_serial(MODEL, "S1"))
    if moment == "before renewal":
        (await box.renew()).granted()
    else:
        await box.admit()


async def test_the_serial_number_that_a_box_without_a_secret_claims_can_be_blocked(start_units: StartUnits) -> None:
    scene, _ = await start_units()
    await scene.hq.store.write(lambda t: t.units.block_serial("box", "S9", reason="", now_s=1))
    box = scene.box()
    assert_says(await box.hello(serial="S9"), 403, "'S9' is blocked at this HQ")
    assert (await box.hello(serial="S8")).status == 200


async def test_a_factory_key_of_no_manifest_is_told_what_is_missing(start_units: StartUnits) -> None:
    scene, _ = await start_units()
    factory, unit = stamp("S7")
    box = UnitBox(hq=scene.hq, session=scene.session, factory=factory)
    reply = await box.hello()
    assert_says(reply, 404, "in no manifest of this HQ", "otscert factory import")
    assert reply.problem is ProblemType.UNKNOWN_UNIT
    await import_units(scene.hq, unit)
    await box.admit()


async def test_a_unit_of_another_model_is_refused(start_units: StartUnits) -> None:
    _, box = await start_units()
    reply = await box.hello(model="box")
    assert_says(reply, 404, "was stamped as 'stamped', its firmware says 'box'")
    await box.admit()


@pytest.mark.parametrize(
    ("changes", "hello", "words"),
    [
        ({"min_contribution": Contribution.SEALED}, {}, ("demands HQ's contribution sealed", "otscert factory stamp")),
        ({"min_source": "hwrng"}, {}, ("demands the source hwrng or better, this box has jitter",)),
        ({"min_source": "jitter"}, {"report": {"source": "starved", "crng": "none"}}, ("this box has starved",)),
    ],
)
async def test_a_box_below_what_its_model_demands_is_told_what_is_missing(
    start: StartScene, changes: dict[str, Any], hello: dict[str, Any], words: tuple[str, ...]
) -> None:
    models = default_models()
    scene = await start(models=models)
    box = scene.box()
    await box.admit()
    models["box"] = replace(models["box"], **changes)
    scene.hq.hq.models["box"] = models["box"]  # type: ignore[index]  # the test's own dictionary: HQ is configured anew
    fresh = scene.box()
    for reply in (
        await fresh.hello(**hello),
        await box.hello(signer=box.identity, epoch_token=box.epoch_token, **hello),
    ):
        assert_says(reply, 403, *words)
        assert reply.problem is ProblemType.LOW_ASSURANCE
        assert reply.message["retry_after_s"] == DAY_S
    assert await scene.hq.count("name") == 1
    # What it has goes on working, and it may go on calling.
    assert (await box.check_in()).typ == ANSWER


@pytest.mark.parametrize(
    ("why", "status", "problem"),
    [
        (Retired.RESET, 409, ProblemType.START_OVER),
        (Retired.TRANSFER, 409, ProblemType.START_OVER),
        (Retired.REMOVED, 403, ProblemType.RETIRED),
    ],
)
async def test_a_box_whose_name_was_taken_back_is_told_whatever_it_asks(
    start_units: StartUnits, why: Retired, status: int, problem: ProblemType
) -> None:
    scene, box = await start_units()
    await box.admit()
    await box.check_in()
    await box.hello(signer=box.identity, epoch_token=box.epoch_token)
    # Everything that it may be in the middle of: a renewal, a poll, a check-in.
    renewal: dict[str, Any] = {"epoch_token": box.epoch_token, "binding": None, "introduce": False}

    def end(transaction: Any) -> None:
        (device,) = transaction.devices.of_serial("S1", limit=9)
        lifecycle.end(transaction, device, why, revoke=True, now_s=scene.hq.hq.now_s())

    await scene.hq.store.write(end)
    for reply in (
        await box.enroll(**renewal),
        await box.poll(),
        await box.check_in(),
        await box.hello(signer=box.identity, epoch_token=box.epoch_token),
    ):
        assert (reply.status, reply.problem) == (status, problem), reply.message
    old_label = (await devices(scene))[0][2]
    reply = await box.hello()
    if why is Retired.REMOVED:
        assert_says(reply, 403, "taken out of service")
        assert await unit_state(scene) == ("blocked", (await scene.hq.rows("SELECT id FROM device"))[0][0], FINGERPRINT)
        return
    box.reset()
    await box.admit()
    assert box.label != old_label


async def test_a_quarantined_unit_cannot_start_over_around_it(start_units: StartUnits) -> None:
    scene, box = await start_units()
    await box.admit()

    def hold(transaction: Any) -> None:
        (device,) = transaction.devices.of_serial("S1", limit=9)
        lifecycle.quarantine(transaction, device, reason="reported stolen", now_s=scene.hq.hq.now_s())

    await scene.hq.store.write(hold)
    assert (await unit_state(scene))[0] == UnitState.QUARANTINED
    box.reset()
    assert_says(await box.hello(), 403, "is quarantined")


FINGERPRINT = "the hardware of one box"
