"""What a hello can get wrong, and what strangers may take from HQ."""

from __future__ import annotations

import secrets

import pytest
from hq.tests.api.conftest import StartScene

from otscert.domain.quota import Quota
from otscert.service.hello import MOST_OPEN
from otscert_agent.wire import b64, point
from otscert_agent.wire.problems import ProblemType
from tests.harness.box import DROP
from tests.harness.scene import Scene, assert_says

HOUR = 3600


async def test_an_unknown_model_is_named_and_leaves_nothing(scene: Scene) -> None:
    before = await scene.rows()
    reply = await scene.box().hello(model="toaster")
    assert_says(reply, 404, "'toaster'", "its operator adds it to the configuration")
    assert reply.signed
    assert reply.message["retry_after_s"] > 0
    assert await scene.rows() == before


async def test_a_d0_that_is_not_on_the_curve_is_refused(scene: Scene) -> None:
    before = await scene.rows()
    reply = await scene.box().hello(d0=b64.encode(b"\x04" + bytes(64)))
    assert_says(reply, 400, "d0 is not a point of P-256")
    assert await scene.rows() == before


@pytest.mark.parametrize("raw", [b"", b"\x00", b"\x02" + bytes(32), bytes(65), b"\x04" + b"\xff" * 64])
async def test_a_d0_that_is_not_an_uncompressed_point_is_refused(scene: Scene, raw: bytes) -> None:
    assert_says(await scene.box().hello(d0=b64.encode(raw)), 400, "d0")


async def test_a_d0_that_was_sent_before_is_refused_for_everybody(scene: Scene) -> None:
    d0 = point.scalar_from_bytes(secrets.token_bytes(48))
    box = scene.box()
    await box.hello(scalar=d0)
    before = await scene.rows()
    for sender in (box, scene.box()):
        reply = await sender.hello(scalar=d0)
        assert_says(reply, 409, "HQ has seen this D0 before; derive a new one")
        assert reply.problem is ProblemType.USED_D0
    assert await scene.rows() == before
    assert (await scene.box().hello()).typ == "otscert-v1-challenge"


async def test_a_refused_second_hello_does_not_end_the_first(scene: Scene) -> None:
    d0 = point.scalar_from_bytes(secrets.token_bytes(48))
    box = scene.box()
    await box.hello(scalar=d0)
    assert (await box.hello(scalar=d0)).problem is ProblemType.USED_D0
    box.d0 = d0
    (await box.enroll()).granted()


async def test_a_nonce_of_the_wrong_length_is_refused(scene: Scene) -> None:
    assert_says(await scene.box().hello(nonce=b64.encode(bytes(15))), 400, "nonce is 15 bytes long, not 16")


async def test_a_source_that_nobody_defined_is_refused(scene: Scene) -> None:
    reply = await scene.box().hello(report={"source": "dice", "crng": "ready"})
    assert_says(reply, 400, "report.source", "jitter")


async def test_a_hello_without_model_is_refused(scene: Scene) -> None:
    assert_says(await scene.box().hello(model=DROP), 400, "payload.model is missing")


async def test_hellos_of_one_address_are_limited(start: StartScene) -> None:
    scene = await start(hellos_per_address=Quota(count=3, period_s=HOUR))
    for _ in range(3):
        assert (await scene.box().hello()).typ == "otscert-v1-challenge"
    before = await scene.rows()
    reply = await scene.box().hello()
    assert_says(reply, 429, "more than 3 hellos in 3600 s")
    assert reply.problem is ProblemType.OVER_QUOTA
    assert 0 < reply.message["retry_after_s"] <= HOUR / 3
    assert await scene.rows() == before
    scene.hq.clock.ahead_s += reply.message["retry_after_s"] + 1
    assert (await scene.box().hello()).typ == "otscert-v1-challenge"


async def test_hellos_of_one_model_are_limited(start: StartScene) -> None:
    scene = await start(hellos_per_model=Quota(count=2, period_s=HOUR))
    for _ in range(2):
        await scene.box().hello()
    assert_says(await scene.box().hello(), 429, "more than 2 hellos")
    assert (await scene.box(model="token-box").hello()).typ == "otscert-v1-challenge"


async def test_a_quota_survives_a_clock_that_was_wrong(start: StartScene) -> None:
    scene = await start(hellos_per_address=Quota(count=3, period_s=HOUR))
    scene.hq.clock.ahead_s = 300 * 86_400
    assert (await scene.box().hello()).typ == "otscert-v1-challenge"
    scene.hq.clock.ahead_s = 0
    for _ in range(3):
        assert (await scene.box().hello()).typ == "otscert-v1-challenge"
    assert_says(await scene.box().hello(), 429)


async def test_a_fifth_hello_ends_the_first_and_frees_its_name(scene: Scene) -> None:
    box = scene.box()
    await box.hello()
    first = box.challenge
    for _ in range(MOST_OPEN):
        scene.hq.clock.ahead_s += 1
        await box.hello()
    assert await scene.hq.count("name") == MOST_OPEN
    assert await scene.hq.count("hello") == MOST_OPEN
    box.challenge = first
    assert (await box.enroll()).problem is ProblemType.UNKNOWN_TXID
