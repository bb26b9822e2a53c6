"""A stamped unit says hello: is it let through, and does it get a new name? See docs/protocol.md, "Admission".

Knows what the manifest and earlier enrolments say. Does not know messages or the store.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum

from otscert_agent.wire.factory import BENCH

MOST_NEW_NAMES = 2
NAMES_WITHIN_S = 30 * 24 * 3600


class UnitState(StrEnum):
    STAMPED = "stamped"
    CONFIRMED = "confirmed"  # a person has said which board it is; others are refused and cannot hold it any more
    BLOCKED = "blocked"  # taken out of service by HQ's operator
    QUARANTINED = "quarantined"  # its factory key was seen on two boards, or by HQ's operator


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """A row of the manifest, and what became of it. Keys are raw: Ed25519 and X25519 public keys of 32 bytes."""

    thumbprint: str
    """Of F_sign (RFC 7638)."""
    model: str
    serial: str
    short_id: str
    sign_key: bytes
    seal_key: bytes
    setup_hash: bytes
    batch: str
    state: UnitState
    device_id: str | None
    """The device that it is now; None before its first enrolment."""
    fingerprint: str | None
    """Of the board that enrolled with it first."""


class UnitVerdict(Enum):
    PASS = "pass"  # noqa: S105 - a verdict, not a word to enter
    REFUSE = "refuse"
    QUARANTINE = "quarantine"


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitDecision:
    verdict: UnitVerdict
    reason: str
    other_board: bool = False
    """Somebody has the unit's factory key on a board that is not the unit's."""


def judge_unit(unit: Unit, *, fingerprint: str) -> UnitDecision:
    """Decide whether a hello signed with this unit's factory key is answered."""
    operator = "HQ's operator decides (otscert device rearm SERIAL)"
    if unit.state is UnitState.BLOCKED:
        reason = f"the unit {unit.serial} was taken out of service by HQ's operator"
        return UnitDecision(verdict=UnitVerdict.REFUSE, reason=reason)
    if unit.state is UnitState.QUARANTINED:
        reason = f"the unit {unit.serial} is quarantined; {operator}"
        return UnitDecision(verdict=UnitVerdict.REFUSE, reason=reason)
    if fingerprint == BENCH:  # with the secret but without the board, and its hello can never be enrolled with
        return UnitDecision(verdict=UnitVerdict.PASS, reason="the maker's line tests the unit")
    other_board = unit.fingerprint is not None and unit.fingerprint != fingerprint
    if other_board and unit.state is UnitState.CONFIRMED:
        reason = (
            f"the factory key of unit {unit.serial} comes from another board than the one that HQ's operator confirmed;"
            " when this is the right one now: otscert device rearm SERIAL"
        )
        return UnitDecision(verdict=UnitVerdict.REFUSE, reason=reason, other_board=True)
    if other_board:
        reason = (
            f"the factory key of unit {unit.serial} comes from another board than before:"
            f" it was copied, stamped twice, or its board was changed; {operator}"
        )
        return UnitDecision(verdict=UnitVerdict.QUARANTINE, reason=reason, other_board=True)
    return UnitDecision(verdict=UnitVerdict.PASS, reason="a stamped unit")


@dataclass(frozen=True, slots=True, kw_only=True)
class NameDecision:
    new_name: bool
    reason: str


def judge_name(names_given_at_s: Sequence[int], *, now_s: int) -> NameDecision:
    """Decide whether a unit that starts over gets a new name, from when its names were given (Unix seconds)."""
    lately = sum(1 for at_s in names_given_at_s if now_s - at_s < NAMES_WITHIN_S)
    if lately >= MOST_NEW_NAMES:
        return NameDecision(
            new_name=False, reason=f"{lately} new names in 30 days: it keeps the last one, with a new key"
        )
    return NameDecision(new_name=True, reason="a new name")
