"""Every policy through the real API: who is let in, by which of them on record, and how many a day."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from hq.tests.api.conftest import StartScene

from otscert.domain.admission import Answer, Policy
from otscert.domain.quota import Quota
from tests.harness.box import Box, Reply
from tests.harness.hq import DAY_S, PLENTY, default_models, make_model
from tests.harness.scene import Scene, assert_says
from tests.harness.unit import UnitBox, import_units, stamp

ALL = (Policy.FACTORY, Policy.TOKEN, Policy.APPROVAL)
OLD, NEW, FOREIGN = b"the-token-of-last-year", b"the-token-of-this-year", b"the-token-of-another-model"
ONE, TWO = Quota(count=1, period_s=DAY_S), Quota(count=2, period_s=DAY_S)
Start = Callable[..., Awaitable[Scene]]


@pytest.fixture
def start_with(start: StartScene) -> Start:
    """HQ with a model "camera" of these members, two tokens for it and one for another model."""

    async def begin(*, more: dict[str, Any] | None = None, **members: Any) -> Scene:
        models = default_models() | {
            "camera": make_model("camera", **members),
            "other": make_model("other", policies=(Policy.TOKEN,)),
        }
        tokens = {"camera": (OLD, NEW), "other": (FOREIGN,)}
        return await start(models=models, tokens=tokens, **(more or {}))

    return begin


async def challenged(scene: Scene) -> Box:
    box = scene.box(model="camera")
    assert (await box.hello()).typ == "otscert-v1-challenge"
    return box


async def with_token(scene: Scene, token: bytes) -> Reply:
    box = await challenged(scene)
    return await box.enroll(token_proof=box.token_proof(token))


async def policies(scene: Scene) -> list[str]:
    return [row[0] for row in await scene.hq.rows("SELECT policy FROM device ORDER BY rowid")]


async def stamped(scene: Scene, serial: str) -> UnitBox:
    factory, unit = stamp(serial)
    await import_units(scene.hq, replace(unit, model="camera"))
    box = UnitBox(hq=scene.hq, session=scene.session, factory=factory, model="camera")
    await box.hello()
    return box


async def test_an_ordered_list_lets_each_box_in_by_the_first_policy_that_fits(start_with: Start) -> None:
    scene = await start_with(policies=ALL)
    unit = await stamped(scene, "S1")
    assert unit.challenge["asks"] == []
    (await unit.enroll()).granted()
    (await with_token(scene, NEW)).granted()
    waits = await challenged(scene)
    assert waits.challenge["asks"] == ["token", "approval"]
    assert (await waits.enroll()).message["pairing_code"]
    sql = "UPDATE admission_request SET approval = ?"
    await scene.hq.store.write(lambda transaction: transaction._connection.execute(sql, (Answer.YES.value,)))
    (await waits.enroll()).granted()
    assert await policies(scene) == ["factory", "token", "approval"]


async def test_the_first_policy_of_the_list_is_the_one_on_record(start_with: Start) -> None:
    scene = await start_with(policies=(Policy.OPEN, Policy.TOKEN))
    (await with_token(scene, NEW)).granted()
    assert await policies(scene) == ["open"]


async def test_a_box_that_brings_nothing_is_refused_by_a_model_for_units_and_tokens(start_with: Start) -> None:
    scene = await start_with(policies=(Policy.FACTORY, Policy.TOKEN))
    reply = await (await challenged(scene)).enroll()
    assert (reply.status, reply.message["final"]) == (403, False)
    assert "the model wants a stamped unit" in reply.message["reason"]
    assert "the model wants a claim token" in reply.message["reason"]


# ---- tokens


@pytest.mark.parametrize("token", [OLD, NEW])
async def test_every_token_of_the_list_is_good(start_with: Start, token: bytes) -> None:
    scene = await start_with(policies=(Policy.TOKEN,))
    (await with_token(scene, token)).granted()


async def test_a_token_of_another_model_is_not(start_with: Start) -> None:
    scene = await start_with(policies=(Policy.TOKEN,))
    reply = await with_token(scene, FOREIGN)
    assert (reply.status, reply.message["final"]) == (403, False)
    assert "not one of this model's" in reply.message["reason"]
    assert await scene.hq.count("device") == 0


async def test_each_token_has_a_quota_of_its_own_whose_name_does_not_give_it_away(start_with: Start) -> None:
    scene = await start_with(policies=(Policy.TOKEN,), admissions_per_token=ONE)
    (await with_token(scene, OLD)).granted()
    before = await scene.rows()
    reply = await with_token(scene, OLD)
    assert_says(reply, 429, "policy token of model camera admits 1 boxes in 86400 s")
    assert (await scene.rows())["device"] == before["device"]
    (await with_token(scene, NEW)).granted()
    names = [row[0] for row in await scene.hq.rows("SELECT bucket FROM quota WHERE bucket LIKE 'admit:token:%'")]
    assert len(set(names)) == 2
    assert all(len(name) == len("admit:token:") + 32 for name in names)
    assert not any(token.decode() in name or token.hex() in name for name in names for token in (OLD, NEW))


# ---- open and its quotas


async def test_open_has_one_cap_for_all_models_together(start_with: Start) -> None:
    scene = await start_with(more={"open_admissions": TWO})
    await scene.box(model="camera").admit()
    await scene.box(model="box").admit()
    for model in ("camera", "box"):
        box = scene.box(model=model)
        await box.hello()
        assert_says(await box.enroll(), 429, f"policy open of model {model} admits 2 boxes in 86400 s")
    # It is nobody else's: tokens have their own.
    box = scene.box(model="other")
    await box.hello()
    (await box.enroll(token_proof=box.token_proof(FOREIGN))).granted()
    scene.hq.clock.ahead_s = DAY_S
    await scene.box(model="camera").admit()


@pytest.mark.parametrize(
    ("members", "policy"),
    [
        ({"admissions_per_address": TWO}, Policy.OPEN),
        ({"admissions_per_model": TWO}, Policy.OPEN),
        ({"admissions_per_address": TWO}, Policy.TOKEN),
        ({"admissions_per_model": TWO}, Policy.TOKEN),
        ({"admissions_per_token": TWO}, Policy.TOKEN),
    ],
)
async def test_quotas_of_address_model_and_token_end_and_refill(
    start_with: Start, members: dict[str, Quota], policy: Policy
) -> None:
    scene = await start_with(policies=(policy,), **members)
    for _ in range(2):
        (await with_token(scene, NEW)).granted()
    reply = await with_token(scene, NEW)
    assert_says(reply, 429, f"policy {policy} of model camera admits 2 boxes")
    assert 0 < reply.message["retry_after_s"] <= DAY_S / 2
    scene.hq.clock.ahead_s = DAY_S // 2 + 1
    (await with_token(scene, NEW)).granted()


async def test_a_refused_box_spends_nothing_of_what_is_left_for_others(start_with: Start) -> None:
    scene = await start_with(policies=(Policy.TOKEN,), admissions_per_model=TWO)
    for _ in range(5):
        assert (await with_token(scene, FOREIGN)).status == 403
    (await with_token(scene, NEW)).granted()
    (await with_token(scene, NEW)).granted()


async def test_stamped_units_are_counted_nowhere(start_with: Start) -> None:
    none = {"admissions_per_address": ONE, "admissions_per_model": ONE, "waiting_per_address": ONE}
    scene = await start_with(policies=ALL, **none)
    for number in range(3):
        (await (await stamped(scene, f"S{number}")).enroll()).granted()
    assert await policies(scene) == ["factory"] * 3


async def test_a_factory_hall_may_ask_the_webhook_about_all_of_its_units(start_with: Start) -> None:
    scene = await start_with(policies=(Policy.FACTORY,), webhook=True, waiting_per_address=ONE)
    for number in range(3):
        reply = await (await stamped(scene, f"S{number}")).enroll()
        assert (reply.status, reply.typ) == (202, "otscert-v1-pending")
    assert PLENTY.count > 3
