"""Ten thousand check-ins, half of whose messages or answers are lost, through the real use case on a real store.

Everything of HQ is there but HTTP: each message is signed, read and verified, judged by `seq` and by the ratchet, and
its answer is stored and signed. A box repeats as the agent does: the very same bytes until an answer arrives, and in
every third box a new message with the same txid, as a box may that re-signs.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from dataclasses import dataclass
from typing import Any

from hq.tests.service.conftest import SetStage

from otscert.service.checkin import CheckingIn
from otscert.service.conversation import Answer, Refused
from otscert_agent.wire import b64, jws
from otscert_agent.wire.messages import PATH_CHECKIN, CheckIn
from tests.harness.box import Box
from tests.harness.scene import Scene

BOXES = 40
CHECK_INS = 10_000


@dataclass(slots=True, kw_only=True)
class Caller:
    """A box and the way to HQ. `lost` is the share of messages, and of answers, that does not arrive."""

    box: Box
    use_case: CheckingIn
    dice: random.Random
    re_signs: bool = False
    lost: float = 0.3
    sent: int = 0

    async def check_in(self) -> None:
        """Call until an answer arrives."""
        txid = b64.encode(self.dice.randbytes(16))
        body: bytes | None = None
        while True:
            if body is None or self.re_signs:
                message = self.box.checkin_message(txid=txid)
                body = self.box.sign(self.box.identity, CheckIn.TYP, PATH_CHECKIN, message)
            self.sent += 1
            if self.dice.random() < self.lost:
                continue  # HQ never got it
            answer = await self._say(body)
            if self.dice.random() < self.lost:
                continue  # the box never got it
            assert answer.status == 200, answer.body
            told: dict[str, Any] = json.loads(jws.parse(answer.body).payload)
            self.box.epoch_token = told["epoch_token"]
            return

    async def _say(self, body: bytes) -> Answer:
        conversation = self.box.hq.conversation
        try:
            request = await conversation.read(
                body, path=PATH_CHECKIN, typ=CheckIn.TYP, kind=CheckIn, address="192.0.2.1", new_key=False
            )
        except Refused as refused:
            return refused.answer
        return await conversation.act(request, self.use_case)


async def callers(scene: Scene, count: int) -> list[Caller]:
    use_case = CheckingIn(hq=scene.hq.hq, zone=scene.hq.zone, seal=scene.hq.seal, signals=scene.hq.signals)
    boxes = [scene.box(fingerprint=f"board {number}") for number in range(count)]
    await asyncio.gather(*(box.admit() for box in boxes))
    return [
        Caller(box=box, use_case=use_case, dice=random.Random(number), re_signs=number % 3 == 2)
        for number, box in enumerate(boxes)
    ]


async def test_ten_thousand_check_ins_with_half_of_the_answers_lost_raise_no_alarm(stage: SetStage) -> None:
    setting = await stage()
    async with setting.hq(ca=None) as scene:
        every = await callers(scene, BOXES)

        async def life(caller: Caller) -> None:
            for _ in range(CHECK_INS // BOXES):
                await caller.check_in()

        await asyncio.gather(*map(life, every))
        sent = sum(caller.sent for caller in every)
        assert sent > 1.9 * CHECK_INS  # half of them came to nothing
        assert Counter(await scene.hq.event_kinds()) == {"device.admitted": BOXES}
        assert await scene.hq.rows("SELECT DISTINCT state FROM device") == [("active",)]


async def test_each_copy_among_them_is_seen(stage: SetStage) -> None:
    """The same line, and of each box a copy that calls in turn with it: every fork is told in the first round."""
    setting = await stage()
    async with setting.hq(ca=None) as scene:
        for caller in await callers(scene, 20):
            await caller.check_in()
            copy = Caller(
                box=scene.box(fingerprint=caller.box.fingerprint),
                use_case=caller.use_case,
                dice=caller.dice,
                re_signs=caller.re_signs,
            )
            copy.box.identity, copy.box.epoch_token = caller.box.identity, caller.box.epoch_token
            copy.box.seqs = caller.box.seqs  # what HQ's `last_seq` gives it
            pair = [caller, copy] if caller.dice.random() < 0.5 else [copy, caller]
            for each in pair:
                await each.check_in()
        kinds = Counter(await scene.hq.event_kinds())
        assert kinds["device.resync"] == 20
