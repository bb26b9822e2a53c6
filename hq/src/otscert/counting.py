"""What this process has counted since it started: plain numbers, cheap to raise, read as a copy.

Whoever does the work raises them; who shows them (`api.metrics`) copies them. Knows no clock and no format.
Numbers that must survive a restart are rows of the store and not here.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

ISSUANCE_BOUNDS_S = (1, 2, 3, 5, 10, 20, 30, 60, 120, 300, 900, 3600, 21_600)
"""From a CA that answers at once to an order that waited out a rate limit."""


class Tally:
    """How often each of a few things happened. What names a thing is HQ's own word, never a stranger's."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, ...], int] = {}

    def count(self, *names: str) -> None:
        self._counts[names] = self._counts.get(names, 0) + 1

    def snapshot(self) -> dict[tuple[str, ...], int]:
        return self._counts.copy()


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """How many took at most each bound (and, last, any time), and all their seconds together."""

    bounds_s: Sequence[float]
    at_most: Sequence[int]
    sum_s: float


class Durations:
    """How long something took, in buckets; it may be far longer than the last bound."""

    def __init__(self, bounds_s: Sequence[float]) -> None:
        self._bounds_s = tuple(bounds_s)
        self._counts = [0] * (len(self._bounds_s) + 1)
        self._sum_s = 0.0

    def add(self, seconds: float) -> None:
        self._counts[bisect_left(self._bounds_s, seconds)] += 1
        self._sum_s += seconds

    def snapshot(self) -> Spread:
        at_most, total = [], 0
        for count in self._counts:
            total += count
            at_most.append(total)
        return Spread(bounds_s=self._bounds_s, at_most=at_most, sum_s=self._sum_s)


class Issuances:
    """Certificates that this process has obtained: how long they took, and when each issuer gave the last one."""

    def __init__(self) -> None:
        self.durations = Durations(ISSUANCE_BOUNDS_S)
        self._last_s: dict[str, int] = {}

    def add(self, issuer: str, *, created_at_s: int, now_s: int) -> None:
        # A clock that was set back in between must not make the sum fall.
        self.durations.add(max(0, now_s - created_at_s))
        self._last_s[issuer] = now_s

    def last_s(self) -> Mapping[str, int]:
        return self._last_s.copy()


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """All that one process counts besides its name server, which has counters of its own."""

    messages: Tally = field(default_factory=Tally)
    """Messages of boxes, by what they are and what became of them."""
    ca_requests: Tally = field(default_factory=Tally)
    """Requests to CAs, by issuer and outcome."""
    webhooks: Tally = field(default_factory=Tally)
    """Questions to makers' webhooks, by model and outcome."""
    zone_updates: Tally = field(default_factory=Tally)
    """Updates of the zone that were sent to servers elsewhere, by server and outcome."""
    issuances: Issuances = field(default_factory=Issuances)
