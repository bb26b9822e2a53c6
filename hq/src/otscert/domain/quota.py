"""GCRA, the generic cell rate algorithm: how often may this happen? One stored number per bucket.

The stored number is the theoretical arrival time (TAT): the moment at which the bucket would be full again.
Source: ITU-T I.371, annex A, in the virtual-scheduling form.
"""

from __future__ import annotations

from dataclasses import dataclass

SMALL_STEP_MS = 3_600_000
"""A clock that was set back by less leaves buckets as they are: nobody gets a full one from a correction of seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """A bucket of `count`, refilled evenly within `period_s`; a full bucket may be spent at once.

    So any stretch of w seconds sees at most `count` + w * `count` / `period_s`: what Let's Encrypt's own limits do.
    """

    count: int
    period_s: int

    @property
    def interval_ms(self) -> int:
        # Rounded up: a bucket that refills a little too fast gives more than was promised.
        return max(1, -(-self.period_s * 1000 // self.count))


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaDecision:
    allowed: bool
    tat_ms: int
    """What to store: moved on when allowed, unchanged when not."""
    remaining: int
    retry_after_s: int
    """0 when allowed; else seconds until one more would be allowed, rounded up."""


def spend(quota: Quota, *, tat_ms: int | None, now_ms: int, cost: int = 1) -> QuotaDecision:
    """Decide whether `cost` units fit now. `tat_ms` is the stored moment, None for a bucket never used."""
    if quota.count <= 0:
        return QuotaDecision(allowed=False, tat_ms=now_ms, remaining=0, retry_after_s=quota.period_s)
    burst_ms = quota.interval_ms * quota.count
    # No honest TAT lies further ahead than a full bucket: beyond that the clock was wrong when it was stored, and the
    # bucket must not stay shut until the wrong date comes.
    stepped = tat_ms is not None and tat_ms > now_ms + burst_ms + SMALL_STEP_MS
    start_ms = now_ms if tat_ms is None or stepped else max(tat_ms, now_ms)
    after_ms = start_ms + cost * quota.interval_ms
    if after_ms - now_ms > burst_ms:
        wait_ms = after_ms - now_ms - burst_ms
        remaining = max(0, (burst_ms - (start_ms - now_ms)) // quota.interval_ms)
        return QuotaDecision(allowed=False, tat_ms=start_ms, remaining=remaining, retry_after_s=-(-wait_ms // 1000))
    remaining = (burst_ms - (after_ms - now_ms)) // quota.interval_ms
    return QuotaDecision(allowed=True, tat_ms=after_ms, remaining=remaining, retry_after_s=0)
