"""What a CA's "too many" (429, `rateLimited`) means for the budget: which bucket is parked, and until when.

Knows the words of Let's Encrypt (Boulder's ratelimits/limiter.go); what names no limit parks the issuer's orders. A
park is never for ever: what claims to last a week (of an issuer's orders: a day) or longer is tried again every day.
"""

from __future__ import annotations

import re

from otscert.domain.budget import Bucket, Charge, Level, careful
from otscert.domain.limits import DAY_S, WEEK_S, LimitKind
from otscert.domain.quota import Quota

UNSAID_S = 900
"""How long a bucket is parked whose CA says neither when to come again nor how fast it refills."""
_LEAST_S, _MOST_UNSAID_S = 60, 3600
_NAMES = re.compile(r"exact set of (identifiers|domains)|duplicate certificate")
_DOMAIN = re.compile(r"certificates? .*already issued for|certificates per registered domain")
_FAILURES = re.compile(r"failed (authorizations|validations)|authorization failures")


def named_bucket(words: str, charge: Charge) -> Bucket:
    """The bucket that a refusal of this order is about; the issuer's orders when it names no limit.

    The CA's own subject is not used: a registered domain that HQ does not count by would never be asked for again.
    """
    lower = words.lower()
    kind, subject = LimitKind.ORDERS_PER_ACCOUNT, ""
    if _NAMES.search(lower) and charge.names:
        kind, subject = LimitKind.CERTIFICATES_PER_NAMES, ",".join(sorted(set(charge.names)))
    elif _DOMAIN.search(lower) and charge.registered_domains:
        kind, subject = LimitKind.CERTIFICATES_PER_DOMAIN, min(charge.registered_domains)
    elif _FAILURES.search(lower) and charge.names:
        kind, subject = LimitKind.FAILURES_PER_NAME, min(name.removeprefix("*.") for name in charge.names)
    return Bucket(issuer=charge.issuer, kind=kind, subject=subject)


def park(
    bucket: Bucket, level: Level, quota: Quota | None, *, retry_after_s: float | None, now_s: int, reason: str
) -> Level:
    """The bucket's level after the CA refused: nothing goes until a moment, then one order, then as it refills.

    `quota` is the CA's own limit, as far as it is known; `retry_after_s` what it asked for, None when it did not.
    """
    if retry_after_s is None:
        refill_s = UNSAID_S if quota is None else quota.interval_ms // 1000
        wait_s = min(max(refill_s, _LEAST_S), _MOST_UNSAID_S)
    else:
        # All of an issuer's orders stand behind this one: a single odd answer must not stop them for days.
        most_s = DAY_S if bucket.kind is LimitKind.ORDERS_PER_ACCOUNT else WEEK_S
        wait_s = DAY_S if retry_after_s >= most_s else max(1, int(retry_after_s) + 1)
    until_s = max(now_s + wait_s, level.parked_until_s if level.parked_until_s <= now_s + WEEK_S else 0)
    tat_ms = level.tat_ms
    if quota is not None:
        ours = careful(bucket.kind, quota)
        one_left_ms = until_s * 1000 + (ours.count - 1) * ours.interval_ms
        tat_ms = max(one_left_ms, tat_ms or 0)
    return Level(tat_ms=tat_ms, parked_until_s=until_s, reason=reason)
