"""How fast one process may ask one CA: its load balancer's limits per second and source address (`domain.limits`).

Kept in memory, as this process's share: all processes of an HQ may share one address. Nothing here is a task or a
lock: who asks is told how long to wait, and has its place by then. What a CA counts per account is `domain.budget`'s.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from otscert.domain.limits import PerSecond

MARGIN = 0.9
"""So much of what the CA allows is asked for; the rest is for what else asks from this address."""
NONCE_MARGIN = 0.75
"""Of newNonce less: a nonce that is asked for is one that an answer should have brought."""
LONGEST_BLOCK_S = 60.0


@dataclass(slots=True)
class _Lane:
    """One limit: GCRA by reservation. `due_s` is when the next request would be exactly on schedule."""

    interval_s: float
    ahead_s: float
    due_s: float = float("-inf")


@dataclass(slots=True)
class Pacing:
    """The requests to one CA by what they are for: the directory's members, "" for everything else."""

    per_second: Mapping[str, PerSecond]
    monotonic: Callable[[], float] = time.monotonic
    processes: int = 1
    """Among how many processes the limits are shared; see `share_among`."""
    _lanes: dict[str, _Lane] = field(default_factory=dict)
    _blocked_until_s: dict[str, float] = field(default_factory=dict)
    _members: dict[str, str] = field(default_factory=dict)
    _renewal_info: str | None = None

    def learn(self, urls: Mapping[str, str]) -> None:
        """Take up which URL is which member of the directory; renewalInfo's is the beginning of many."""
        self._members = {url: member for member, url in urls.items()}
        self._renewal_info = urls.get("renewalInfo")

    def share_among(self, processes: int) -> None:
        """Say how many processes ask this CA from this address now."""
        if processes != self.processes:
            self.processes = max(1, processes)
            self._lanes.clear()

    def wait_s(self, url: str) -> float:
        """Take a place for one request and return the seconds until it may be sent; 0 for most."""
        kind = self._kind(url)
        now_s = self.monotonic()
        blocked_s = max(0.0, self._blocked_until_s.get(kind, 0.0) - now_s) if self._blocked_until_s else 0.0
        lane = self._lane(kind)
        if lane is None:
            return blocked_s
        lane.due_s = max(lane.due_s, now_s) + lane.interval_s
        return max(blocked_s, lane.due_s - now_s - lane.ahead_s, 0.0)

    def slow_down(self, url: str, retry_after_s: float) -> None:
        """The load balancer refused a request (503 with Retry-After): nothing of its kind is sent before that."""
        kind = self._kind(url)
        until_s = self.monotonic() + min(max(retry_after_s, 0.0), LONGEST_BLOCK_S)
        self._blocked_until_s[kind] = max(until_s, self._blocked_until_s.get(kind, 0.0))
        lane = self._lane(kind)
        if lane is not None:
            lane.due_s = max(lane.due_s, until_s + lane.ahead_s)

    def _kind(self, url: str) -> str:
        """What the CA counts the request as: the member where it has a limit of its own; where none is known, too."""
        member = self._members.get(url)
        if member is None:
            named = self._renewal_info is not None and url.startswith(self._renewal_info)
            member = "renewalInfo" if named else ""
        return member if member in self.per_second or not self.per_second else ""

    def _lane(self, kind: str) -> _Lane | None:
        lane = self._lanes.get(kind)
        if lane is None and kind in self.per_second:
            limit = self.per_second[kind]
            share = (NONCE_MARGIN if kind == "newNonce" else MARGIN) / self.processes
            interval_s = 1 / (limit.rate * share)
            lane = _Lane(interval_s=interval_s, ahead_s=max(1, int(limit.burst * share)) * interval_s)
            self._lanes[kind] = lane
        return lane
