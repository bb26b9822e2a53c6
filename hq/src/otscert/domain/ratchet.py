"""The check-in ratchet: which of two boxes with one identity is this? See docs/protocol.md, "Ratchet".

Knows the comparison only; what a fork means for DNS and certificates is decided by the caller.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

RESYNC_EVERY_S = 30 * 24 * 3600


class RatchetVerdict(Enum):
    ADVANCE = "advance"  # the current token: go on
    REPEAT = "repeat"  # the previous token with the last txid: our answer was lost, give it again
    RESYNC = "resync"  # same hardware, older token: a restored backup, once in 30 days
    FREEZE = "freeze"  # same hardware, two branches that both keep calling: a person decides
    START_OVER = "start over"  # other hardware: this one is the copy


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratchet:
    """What HQ remembers of a device's check-ins; tokens are stored as SHA-256."""

    token_hash: bytes
    previous_hash: bytes
    last_txid: str
    fingerprint: str
    last_resync_s: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RatchetDecision:
    verdict: RatchetVerdict
    reason: str


def judge_checkin(ratchet: Ratchet, *, token_hash: bytes, txid: str, fingerprint: str, now_s: int) -> RatchetDecision:
    """Decide what a check-in with this token, txid and hardware fingerprint means."""
    # txid and fingerprint travel in the same signed message; a copy on other hardware shows whichever comes first.
    if fingerprint != ratchet.fingerprint:
        return RatchetDecision(
            verdict=RatchetVerdict.START_OVER,
            reason="the hardware is not the one that was enrolled: this is a copy of another box's state",
        )
    if token_hash == ratchet.token_hash:
        return RatchetDecision(verdict=RatchetVerdict.ADVANCE, reason="the current epoch token")
    if token_hash == ratchet.previous_hash and txid == ratchet.last_txid:
        return RatchetDecision(verdict=RatchetVerdict.REPEAT, reason="the last check-in again: its answer was lost")
    if ratchet.last_resync_s is None or now_s - ratchet.last_resync_s >= RESYNC_EVERY_S:
        return RatchetDecision(
            verdict=RatchetVerdict.RESYNC, reason="an older epoch token from the same hardware: a restored backup"
        )
    return RatchetDecision(
        verdict=RatchetVerdict.FREEZE,
        reason="an older epoch token again within 30 days: two boxes share this identity",
    )
