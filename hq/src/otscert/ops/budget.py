"""What would change a queue: the step of the CA's form that would serve it within a day, or an entry in the list."""

from __future__ import annotations

from dataclasses import dataclass

from otscert.domain.limits import DAY_S, WEEK_S, LimitKind
from otscert.domain.quota import Quota
from otscert.ops.plan_variants import TIERS
from otscert.service.budget_levels import SharedLevel, shared_level

FORMS = {"letsencrypt": "https://isrg.formstack.com/forms/rate_limit_adjustment_request"}
"""Where a CA is asked for larger limits, by the name of its limits (`domain.limits`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Something a maker could do, and when the last that waits now would be served then (Unix seconds)."""

    what: str
    setting: str
    """How HQ is told of it."""
    served_at_s: int


def helpful_changes(shared: SharedLevel, *, now_ms: int) -> list[Change]:
    """What would shorten the queue for a bucket; nothing where nobody waits or nothing is known to help."""
    limit, before_s = shared.limit, shared.last_served_at_s
    if limit is None or before_s is None:
        return []
    found = []
    tier = _tier(shared, now_ms=now_ms)
    if tier is not None and tier[1] < before_s:
        setting = shared.bucket.kind.value.replace("-", "_")
        found.append(
            Change(
                what=f"an override of {tier[0]:,} a week",
                setting=f'issuer.{shared.bucket.issuer}.{setting} = "{tier[0]}/7d"',
                served_at_s=tier[1],
            )
        )
    if shared.bucket.kind is LimitKind.CERTIFICATES_PER_DOMAIN:
        # Every box is a registered domain of its own then; what remains is the limit on the account's orders.
        found.append(
            Change(
                what="the zone on the Public Suffix List",
                setting='zone.public_suffix = "true"',
                served_at_s=now_ms // 1000,
            )
        )
    return found


def _tier(shared: SharedLevel, *, now_ms: int) -> tuple[int, int] | None:
    """The least step of the form with which the queue is gone within a day, else the one that is fastest."""
    ended: list[tuple[int, int]] = []
    for tier in TIERS.get(shared.bucket.kind, ()):
        adjusted = Quota(count=tier, period_s=WEEK_S)
        after = shared_level(shared.bucket, shared.level, adjusted, shared.waiting, now_ms=now_ms)
        if after.last_served_at_s is not None:
            ended.append((tier, after.last_served_at_s))
            if after.last_served_at_s <= now_ms // 1000 + DAY_S:
                return ended[-1]
    return min(ended, key=lambda each: each[1], default=None)
