"""When the last of those that wait for a bucket is served: the budget's own functions, run ahead in time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from otscert.domain.budget import Level, Rank, available, is_parked, reserve
from otscert.domain.quota import Quota, spend

_STEPS = 2000
"""So many steps are run one by one; from then on the bucket gives what refills, which is a multiplication."""


def last_turns(quota: Quota, level: Level, waiting: Mapping[Rank, int], *, now_ms: int) -> dict[Rank, int]:
    """The moment (Unix ms) at which the last of each rank goes if nobody joins; `quota` as `budget.draws` gives it."""
    left = {rank: count for rank, count in sorted(waiting.items()) if count > 0}
    turns: dict[Rank, int] = {}
    at_ms = level.parked_until_s * 1000 if is_parked(level, now_s=now_ms // 1000) else now_ms
    for _ in range(_STEPS):
        level = _serve(quota, level, left, turns, at_ms)
        if not left:
            return turns
        kept = max(reserve(quota, rank) for rank in left)
        at_once = min(max(1, sum(left.values()) // _STEPS), max(1, (quota.count - kept) // 2))
        at_ms += quota.interval_ms * at_once
    for rank, count in left.items():
        at_ms += count * quota.interval_ms
        turns[rank] = at_ms
    return turns


def _serve(quota: Quota, level: Level, left: dict[Rank, int], turns: dict[Rank, int], at_ms: int) -> Level:
    """Let those go that have room at this moment; takes them out of `left`."""
    for rank in list(left):
        count = min(left[rank], available(quota, level, at_ms, rank))
        if count:
            level = replace(level, tat_ms=spend(quota, tat_ms=level.tat_ms, now_ms=at_ms, cost=count).tat_ms)
            left[rank] -= count
            turns[rank] = at_ms
        if left[rank]:
            break  # those behind it wait until it has gone
        del left[rank]
    return level
