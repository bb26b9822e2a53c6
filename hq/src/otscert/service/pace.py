"""How long the CA has been taking lately, so that it is not asked again before it can be done.

In memory and per process: it saves requests, and nothing depends on it.
"""

from __future__ import annotations

from dataclasses import dataclass

_WEIGHT = 0.2  # of the newest observation
_EARLY = 0.8  # the first look, as a share of the expected time: a CA that became quicker is noticed
_AGAIN = 0.25  # the least time between later looks, likewise
LONGEST_S = 10.0


@dataclass(slots=True)
class Pace:
    """Exponentially weighted mean of how long one step at the CA took, in seconds."""

    expected_s: float = 0.0

    def took(self, seconds: float) -> None:
        """Note one step that was seen to be done after so long."""
        self.expected_s += _WEIGHT * (min(seconds, LONGEST_S) - self.expected_s)

    def least_s(self, attempt: int) -> float:
        """The least wait before look number `attempt` (from 0)."""
        return self.expected_s * (_EARLY if attempt == 0 else _AGAIN)
