from __future__ import annotations

import random
from dataclasses import dataclass, replace

import pytest

from otscert.domain.ratchet import RESYNC_EVERY_S, Ratchet, RatchetVerdict, judge_checkin

V = RatchetVerdict
NOW_S = 10**9
RATCHET = Ratchet(
    token_hash=b"current", previous_hash=b"previous", last_txid="last", fingerprint="mine", last_resync_s=None
)
RESYNCED = replace(RATCHET, last_resync_s=NOW_S - RESYNC_EVERY_S + 1)


@pytest.mark.parametrize(
    ("ratchet", "token", "txid", "fingerprint", "verdict"),
    [
        (RATCHET, b"current", "new", "mine", V.ADVANCE),
        (RATCHET, b"current", "last", "mine", V.ADVANCE),
        (RATCHET, b"previous", "last", "mine", V.REPEAT),
        (RESYNCED, b"previous", "last", "mine", V.REPEAT),
        (RATCHET, b"previous", "other", "mine", V.RESYNC),
        (RATCHET, b"older", "last", "mine", V.RESYNC),
        (RATCHET, b"never given", "new", "mine", V.RESYNC),
        (RESYNCED, b"previous", "other", "mine", V.FREEZE),
        (RESYNCED, b"older", "new", "mine", V.FREEZE),
        (replace(RESYNCED, last_resync_s=NOW_S - RESYNC_EVERY_S), b"older", "new", "mine", V.RESYNC),
        (RESYNCED, b"current", "new", "mine", V.ADVANCE),
        (RATCHET, b"current", "new", "other", V.START_OVER),
        (RATCHET, b"previous", "last", "other", V.START_OVER),
        (RESYNCED, b"older", "new", "other", V.START_OVER),
    ],
)
def test_the_table(ratchet: Ratchet, token: bytes, txid: str, fingerprint: str, verdict: RatchetVerdict) -> None:
    decision = judge_checkin(ratchet, token_hash=token, txid=txid, fingerprint=fingerprint, now_s=NOW_S)
    assert decision.verdict is verdict
    assert decision.reason


@dataclass
class Unit:
    """A box as the ratchet sees it: its token, and the txid of a check-in whose answer it still waits for."""

    token: bytes
    waiting: str | None = None

    def call(self, hq: Side, dice: random.Random, *, lost: float) -> RatchetVerdict:
        self.waiting = self.waiting or dice.randbytes(8).hex()
        verdict, answer = hq.check_in(self.token, self.waiting, dice)
        if answer is not None and dice.random() >= lost:
            self.token, self.waiting = answer, None
        return verdict


@dataclass
class Side:
    """HQ's side, as the use case turns it."""

    ratchet: Ratchet
    answer: bytes = b""
    now_s: int = NOW_S

    def check_in(self, token: bytes, txid: str, dice: random.Random) -> tuple[RatchetVerdict, bytes | None]:
        self.now_s += 21_600
        verdict = judge_checkin(self.ratchet, token_hash=token, txid=txid, fingerprint="mine", now_s=self.now_s).verdict
        if verdict is V.REPEAT:
            return verdict, self.answer
        if verdict in {V.FREEZE, V.START_OVER}:
            return verdict, None
        self.answer = dice.randbytes(8)
        resync_s = self.now_s if verdict is V.RESYNC else self.ratchet.last_resync_s
        self.ratchet = replace(
            self.ratchet, token_hash=self.answer, previous_hash=token, last_txid=txid, last_resync_s=resync_s
        )
        return verdict, self.answer


def fresh() -> Side:
    return Side(replace(RATCHET, token_hash=b"start", previous_hash=b"", last_txid=""))


def test_ten_thousand_honest_check_ins_with_half_of_the_answers_lost_raise_no_alarm() -> None:
    dice = random.Random(1)
    hq, box = fresh(), Unit(b"start")
    seen = {box.call(hq, dice, lost=0.5) for _ in range(10_000)}
    assert seen == {V.ADVANCE, V.REPEAT}


@pytest.mark.parametrize("seed", range(200))
def test_a_copy_is_seen_in_the_first_round_and_frozen_in_the_second(seed: int) -> None:
    dice = random.Random(seed)
    hq, box = fresh(), Unit(b"start")
    for _ in range(dice.randrange(20)):
        box.call(hq, dice, lost=0.5)
    box.waiting = None  # copied while no check-in was on its way: a copied txid costs one round more
    if hq.ratchet.token_hash != box.token:
        box.token = hq.ratchet.token_hash
    copy = Unit(box.token)
    order = [box, copy] if dice.random() < 0.5 else [copy, box]
    first = [unit.call(hq, dice, lost=0.5) for unit in order]
    assert V.RESYNC in first
    second = [unit.call(hq, dice, lost=0.5) for unit in order]
    assert V.FREEZE in first + second


@pytest.mark.parametrize("seed", range(100))
def test_a_copy_with_a_check_in_on_its_way_is_seen_too(seed: int) -> None:
    dice = random.Random(seed)
    hq, box = fresh(), Unit(b"start")
    box.call(hq, dice, lost=1)
    copy = Unit(box.token, box.waiting)
    verdicts = [unit.call(hq, dice, lost=0.5) for _ in range(12) for unit in (box, copy)]
    assert V.FREEZE in verdicts
