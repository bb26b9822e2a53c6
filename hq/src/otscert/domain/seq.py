"""Is this message new, a repetition, or too late? See docs/protocol.md, "seq"."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class SeqVerdict(Enum):
    NEW = "new"
    REPEAT = "repeat"
    STALE = "stale"
    CONFLICT = "conflict"


@dataclass(frozen=True, slots=True, kw_only=True)
class SeqDecision:
    verdict: SeqVerdict
    reason: str


def judge_seq(*, last_seq: int, last_digest: bytes, seq: int, digest: bytes) -> SeqDecision:
    """Compare a message's `seq` and H(request) with the key's last accepted one (`last_seq` 0: none yet)."""
    if seq > last_seq:
        return SeqDecision(verdict=SeqVerdict.NEW, reason="seq is above the last one")
    if seq < last_seq:
        return SeqDecision(verdict=SeqVerdict.STALE, reason=f"seq {seq} is below the last accepted one, {last_seq}")
    if digest == last_digest:
        return SeqDecision(verdict=SeqVerdict.REPEAT, reason="the same message again")
    return SeqDecision(verdict=SeqVerdict.CONFLICT, reason=f"seq {seq} was already used for another message")
