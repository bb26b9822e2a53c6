"""Attacks on admission at the device API: keeping others out, filling the log, one identity in two transactions."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import pytest

from otscert.domain.admission import Answer, Policy
from otscert.domain.quota import Quota
from otscert.service import approval, housekeeping
from otscert.service.approval import Confirmer
from otscert.service.hello import HELLOS_PER_DEVICE
from otscert.service.waiting import MOST_OF_UNIT
from otscert.store.requests import AdmissionRequest
from otscert_agent.wire.problems import ProblemType
from tests.harness.box import Box
from tests.harness.hq import DAY_S, default_models, make_model
from tests.harness.scene import Scene, assert_says
from tests.harness.unit import MODEL, UnitBox, import_units, stamp, stamped_model

StartScene = Callable[..., Awaitable[Scene]]  # the fixture of conftest.py, which cannot be imported
HOUR_S = 3600
MODELS = default_models() | {
    MODEL: stamped_model(policies=(Policy.FACTORY, Policy.OPEN)),
    "asking": make_model("asking", policies=(Policy.APPROVAL,)),
    "hooked": make_model("hooked", policies=(Policy.FACTORY,), webhook=True),
}


@pytest.mark.parametrize("limit", ["hellos_per_address", "hellos_per_model"])
async def test_strangers_who_spend_all_hellos_do_not_keep_a_stamped_unit_out(start: StartScene, limit: str) -> None:
    scene = await start(models=MODELS, **{limit: Quota(count=3, period_s=HOUR_S)})
    factory, unit = stamp("SN-1")
    await import_units(scene.hq, unit)
    replies = [await scene.box(model=MODEL).hello() for _ in range(4)]
    assert replies[-1].problem is ProblemType.OVER_QUOTA
    await UnitBox(hq=scene.hq, session=scene.session, factory=factory).admit()


async def test_a_factory_key_says_so_many_hellos_and_no_more(start: StartScene) -> None:
    scene = await start(models=MODELS)
    factory, unit = stamp("SN-1")
    await import_units(scene.hq, unit)
    box = UnitBox(hq=scene.hq, session=scene.session, factory=factory)
    for _ in range(HELLOS_PER_DEVICE.count):
        assert (await box.hello()).status == 200
    assert_says(await box.hello(), 429, "more than 30 hellos")


async def test_a_stranger_with_many_words_does_not_fill_the_log(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="otscert")
    for number in range(20):
        assert (await scene.box(model=f"no-such-{number}").hello()).problem is ProblemType.UNKNOWN_MODEL
    assert [record.getMessage() for record in caplog.records].count("box.refused") == 1


async def test_an_identity_that_waited_in_two_transactions_becomes_one_box(start: StartScene) -> None:
    scene = await start(models=MODELS)
    box = scene.box(model="asking")
    first = await approved(scene, box)
    await approved(scene, box)
    (await box.enroll()).granted()
    box.challenge, box.d0, box.r = first
    assert_says(await box.enroll(), 400, "belongs to a device already")
    assert await scene.hq.count("device") == 1


async def test_a_factory_key_does_not_let_enrolments_wait_without_end(start: StartScene) -> None:
    scene = await start(models=MODELS)
    factory, unit = stamp("SN-1", model="hooked")
    await import_units(scene.hq, unit)
    box = UnitBox(hq=scene.hq, session=scene.session, factory=factory, model="hooked")
    for _ in range(MOST_OF_UNIT + 3):
        box.reset()
        await box.hello()
        assert (await box.enroll()).status == 202
    assert (await box.enroll()).status == 202
    tables = ("admission_request", "hello", "name")
    assert [await scene.hq.count(table) for table in tables] == [MOST_OF_UNIT] * 3


async def test_a_box_that_waits_for_a_month_is_counted_again(start: StartScene) -> None:
    scene = await start(models=MODELS)
    box = scene.box(model="asking")
    await box.hello()
    for half_days in range(60):
        assert (await box.enroll()).status == 202
        scene.hq.clock.ahead_s = half_days * DAY_S // 2
        await housekeeping.sweep(scene.hq.hq, scene.hq.store)
        assert await scene.hq.count("admission_request") == 1
    assert (await box.enroll()).status == 202
    scene.hq.clock.ahead_s = 30 * DAY_S + 60
    await housekeeping.sweep(scene.hq.hq, scene.hq.store)
    assert await scene.hq.count("admission_request") == 0
    assert (await box.enroll()).message["pairing_code"]


async def approved(scene: Scene, box: Box) -> tuple[dict[str, object], int, int]:
    """A person approves a hello of the box that it has not been granted yet; returns what it enrols with."""
    await box.hello()
    code = (await box.enroll()).message["pairing_code"]
    who = Confirmer(account="ann", address=None, now_s=scene.hq.hq.now_s())
    secret = scene.hq.hq.secret
    found = await scene.hq.store.write(
        lambda transaction: approval.find_by_pairing_code(transaction, code, who, secret=secret)
    )
    assert isinstance(found, AdmissionRequest)
    await scene.hq.store.write(lambda transaction: approval.decide(transaction, found, Answer.YES, who))
    return box.challenge, box.d0, box.r


async def test_who_enrolled_with_a_units_secret_before_its_import_does_not_keep_the_unit_out(start: StartScene) -> None:
    scene = await start(models=MODELS)
    factory, unit = stamp("SN-1")
    insider = scene.box(model=MODEL)
    insider.identity = factory.signer()
    await insider.admit()
    await import_units(scene.hq, unit)
    box = UnitBox(hq=scene.hq, session=scene.session, factory=factory)
    # The insider's messages used up numbers of the key; the box hears of it, as after any lost state, and goes on.
    box.seqs[factory.public.thumbprint()] = insider.seqs[factory.public.thumbprint()]
    await box.admit()
    assert box.opened == ["sealed"]


@pytest.mark.parametrize(("stamped", "days", "refused"), [(False, 29, True), (False, 31, False), (True, 360, True)])
async def test_a_recorded_hello_is_refused_for_as_long_as_its_d0_is_remembered(
    start: StartScene, *, stamped: bool, days: int, refused: bool
) -> None:
    scene = await start(models=MODELS)
    factory, unit = stamp("SN-1")
    await import_units(scene.hq, unit)
    box = UnitBox(hq=scene.hq, session=scene.session, factory=factory) if stamped else scene.box(model=MODEL)
    assert (await box.hello(scalar=4711)).status == 200
    scene.hq.clock.ahead_s += days * DAY_S
    await housekeeping.sweep(scene.hq.hq, scene.hq.store)
    assert (await box.hello(scalar=4711)).status == (409 if refused else 200)
