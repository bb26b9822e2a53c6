"""How good a box's randomness is known to be: HQ's own contribution (verified), the box's source (claimed).

Two fields, never one tier (docs/protocol.md, "Contribution"): a claim can only lower trust. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

DAY_S = 24 * 3600


class Contribution(StrEnum):
    """What of HQ's randomness is in a key; ordered by what an on-path observer learns."""

    NONE = "none"
    OPEN = "open"
    SEALED = "sealed"


class Source(StrEnum):
    """What the box says its own half came from."""

    STARVED = "starved"
    JITTER = "jitter"
    HWRNG = "hwrng"
    SECURE_ELEMENT = "secure-element"


_CONTRIBUTIONS = list(Contribution)
_SOURCES = list(Source)


@dataclass(frozen=True, slots=True, kw_only=True)
class Assurance:
    enough: bool
    reason: str


def judge_assurance(
    contribution: Contribution, source: Source, *, min_contribution: Contribution, min_source: Source
) -> Assurance:
    """Decide whether a key with this randomness is good enough for a model; the reason says what is missing."""
    if _CONTRIBUTIONS.index(contribution) < _CONTRIBUTIONS.index(min_contribution):
        missing = {
            Contribution.SEALED: "a factory secret whose public keys are in an imported manifest"
            " (otscert factory stamp, then otscert factory import)",
            Contribution.OPEN: "a P-256 key that holds HQ's randomness",
        }[min_contribution]
        return Assurance(
            enough=False,
            reason=f"the model demands HQ's contribution {min_contribution}, this box can have {contribution}:"
            f" it needs {missing}",
        )
    if _SOURCES.index(source) < _SOURCES.index(min_source):
        return Assurance(
            enough=False,
            reason=f"the model demands the source {min_source} or better, this box has {source}:"
            " its kernel's generator, or a hardware one, has to feed its keys",
        )
    return Assurance(enough=True, reason="as the model demands")


@dataclass(frozen=True, slots=True, kw_only=True)
class RekeyDecision:
    due: bool
    at_s: int | None
    """Unix seconds; None when no early rekey is planned."""
    reason: str


def judge_rekey(
    contribution: Contribution, *, first: bool, issued_at_s: int, rekey_after_s: int, now_s: int
) -> RekeyDecision:
    """Decide whether a certificate is replaced before its renewal, because its key may have been seen being made.

    Who watched a box's very first connection and missed one later exchange cannot know the next key (firstboot.md 1.5);
    so only the `first` certificate of a box, and only one whose `r` was not sealed, is replaced early.
    """
    if not first or contribution is Contribution.SEALED or rekey_after_s == 0:
        return RekeyDecision(due=False, at_s=None, reason="no early rekey is needed")
    at_s = issued_at_s + rekey_after_s
    if now_s < at_s:
        return RekeyDecision(due=False, at_s=at_s, reason="its first key is replaced later")
    return RekeyDecision(due=True, at_s=at_s, reason="its first key was made with an open contribution: heal it")
