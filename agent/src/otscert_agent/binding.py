"""Is this state this board's? The hardware and the factory secret that an identity was made with, compared at start.

Pure. An image that was taken from an enrolled box carries its identity to other boards; HQ would see that too
(protocol.md, "Clones"), but a board that notices it by itself never uses what is not its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from otscert_agent.state import Bound


class Belongs(Enum):
    """Whose state this is."""

    HERE = "it was made on this board"
    ELSEWHERE = "it was made on another board"


@dataclass(frozen=True)
class Verdict:
    belongs: Belongs
    reason: str


def judge(bound: Bound | None, *, fingerprint: str, unit: str | None) -> Verdict:
    """Compare what the state was bound to with this board; `unit` is the thumbprint of its factory key, if any."""
    if bound is not None and bound.fingerprint != fingerprint:
        return Verdict(Belongs.ELSEWHERE, "the state in this folder was made on other hardware (a copied image?)")
    if bound is not None and unit is not None and bound.unit not in {None, unit}:
        return Verdict(Belongs.ELSEWHERE, "the state in this folder was made with another factory secret")
    # A secret that is not configured any more says nothing about the board: HQ's next sealed answer will. One that came
    # later changes nothing: the box stays the device that HQ knows until it starts over.
    return Verdict(Belongs.HERE, "the state was made here")
