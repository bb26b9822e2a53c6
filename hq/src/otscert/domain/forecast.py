"""How long it takes until the certificates of an incident are replaced: boxes have to hear of it, and CAs to allow it.

An estimate from the limits that are known, by the rules that let orders go (`domain.budget`). Pure; does not know boxes
that are switched off.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from otscert.domain.budget import Bucket, Charge, Exemption, Level, Rank, available, draws
from otscert.domain.limits import Limits
from otscert.domain.spans import about, in_words

REQUESTS_PER_ORDER = 7
"""newOrder, authorization, challenge, two looks at the order, finalize, certificate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """So many certificates of `before` (None: any issuer) are ordered anew from `issuer`."""

    before: str | None
    issuer: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """Seconds from now until the last box that is switched on has its certificate, and what takes longest."""

    seconds: int
    reason: str


def foretell(
    shares: tuple[Share, ...],
    *,
    limits: Mapping[str, Limits],
    levels: Mapping[Bucket, Level],
    shared_domain: str | None,
    call_within_s: int,
    now_ms: int,
) -> Forecast:
    """Say how long these take. `shared_domain`: the registered domain of all boxes; None: each box has its own."""
    if not any(share.count for share in shares):
        return Forecast(seconds=0, reason="there is nothing to wait for")
    slowest = Forecast(
        seconds=call_within_s, reason=f"boxes hear of it when they call, within {in_words(call_within_s)}"
    )
    for issuer in sorted({share.issuer for share in shares}):
        of_issuer = [share for share in shares if share.issuer == issuer]
        allowed = limits.get(issuer)
        if allowed is None:
            continue
        for bucket, count, seconds in _waits(of_issuer, allowed, levels, shared_domain, now_ms):
            if seconds > slowest.seconds:
                reason = f"{issuer}: {bucket.kind.value} leaves room for {count:,} of them in {about(seconds)}"
                slowest = Forecast(seconds=seconds, reason=reason)
        paced = allowed.per_second.get("")
        total = sum(share.count for share in of_issuer)
        seconds = 0 if paced is None else int(total * REQUESTS_PER_ORDER / paced.rate)
        if paced is not None and seconds > slowest.seconds:
            reason = f"{issuer} takes {paced.rate:g} requests per second, an order needs {REQUESTS_PER_ORDER}"
            slowest = Forecast(seconds=seconds, reason=reason)
    return slowest


def _waits(
    shares: list[Share],
    limits: Limits,
    levels: Mapping[Bucket, Level],
    shared_domain: str | None,
    now_ms: int,
) -> list[tuple[Bucket, int, int]]:
    """For each bucket that boxes share: how many orders draw from it, and the seconds until it has given as many."""
    counts: dict[Bucket, int] = {}
    quotas = {}
    for share in shares:
        charge = Charge(
            issuer=share.issuer,
            names=(),
            registered_domains=() if shared_domain is None else (shared_domain,),
            rank=Rank.INCIDENT,
            exemption=Exemption.SAME_NAMES if share.before == share.issuer else Exemption.NONE,
        )
        for bucket, quota in draws(charge, limits):
            counts[bucket] = counts.get(bucket, 0) + share.count
            quotas[bucket] = quota
    found = []
    for bucket, count in counts.items():
        level = levels.get(bucket, Level(tat_ms=None))
        free = available(quotas[bucket], level, now_ms, Rank.INCIDENT)
        parked_s = max(0, level.parked_until_s - now_ms // 1000) if free == 0 else 0
        found.append((bucket, count, parked_s + max(0, count - free) * quotas[bucket].interval_ms // 1000))
    return found
