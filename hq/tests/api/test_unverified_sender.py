"""Whose message it was is not known before its signature is verified, so HQ's refusal of a wrong one binds nobody."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from otscert_agent.wire import b64, jws
from otscert_agent.wire.messages import PATH_CHECKIN, CheckIn
from otscert_agent.wire.problems import ProblemType
from tests.harness.hq import HqOptions
from tests.harness.scene import Scene, open_scene


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with open_scene(HqOptions(folder=tmp_path)) as opened:
        yield opened


async def test_a_refusal_of_somebody_elses_signature_is_not_addressed_to_the_box(scene: Scene) -> None:
    """H does not cover the signature: with `aud` it would be HQ's answer to the very message that the box sent."""
    box = scene.box()
    await box.admit()
    body = box.sign(box.identity, CheckIn.TYP, PATH_CHECKIN, box.checkin_message())
    envelope = json.loads(body)
    broken = json.dumps({**envelope, "signature": b64.encode(bytes(64))}).encode()
    reply = await box.post(PATH_CHECKIN, broken)
    assert (reply.signed, reply.problem) == (True, ProblemType.BAD_SIGNATURE)
    header = jws.parse(reply.body).header
    assert header["req"] == b64.encode(jws.parse(body).digest())
    assert header["aud"] == ""
    # The box's own message is as good as ever, with the same seq.
    assert (await box.post(PATH_CHECKIN, body)).status == 200
