"""What to do when a name server does not take an update of many names: one of them may be why, or the server itself.

Pure: knows what was answered and taken so far. Does not know names, messages or servers.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

MOST_REFUSALS = 20
"""So many refusals in one look, and nothing taken, are the server's: down to one of 500 names are 10 of them."""
MOST_ASIDE = 100
"""So many names that are refused are the doing of the server's rules, not of the names."""
_FIRST_REST_S = 30.0
_LONGEST_REST_S = 3600.0

_OF_ONE_NAME = frozenset(
    # RFC 2136 2.2 and 3.4: what can be about one record of the update section, or of what stands at one name.
    ("formerr", "servfail", "refused", "nxdomain", "yxdomain", "yxrrset", "nxrrset", "notzone")
)


class Step(Enum):
    """What follows a refusal."""

    REST = "the server is why: leave everything for later"
    HALVE = "one name may be why: send each half by itself"
    PUT_ASIDE = "this one name is refused: go on without it, if the server takes anything else"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    step: Step
    reason: str


def may_be_one_name(kind: str) -> bool:
    """Whether a refusal of this kind (`UpdateError.kind`) can be due to one name of many."""
    return kind in _OF_ONE_NAME


def after_refusal(kind: str, *, names: int, refusals: int, taken: bool, aside: int) -> Decision:
    """What follows when `names` names were refused with one message.

    `refusals` are those of this look, this one too; `taken`: the server took anything in it; `aside` names are already.
    """
    if not may_be_one_name(kind):
        return Decision(step=Step.REST, reason=f"{kind!r} is about the server, not about a name")
    if not taken and refusals >= MOST_REFUSALS:
        return Decision(step=Step.REST, reason=f"{refusals} refusals and nothing taken: it refuses everything")
    if names > 1:
        return Decision(step=Step.HALVE, reason=f"one of {names} names may be why")
    if aside >= MOST_ASIDE:
        return Decision(step=Step.REST, reason=f"{aside} names are refused already: its rules are why, not the names")
    return Decision(step=Step.PUT_ASIDE, reason="it is one name")


def rest_s(refused: int) -> float:
    """How long a name that was refused so often is left alone; a change of its content is sent at once."""
    return min(_FIRST_REST_S * 2.0 ** min(max(refused - 1, 0), 16), _LONGEST_REST_S)
