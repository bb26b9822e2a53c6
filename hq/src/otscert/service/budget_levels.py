"""What is left of the CAs' limits that boxes share, and who waits for them: for commands, metrics and alerts.

Looks, and changes nothing. A box's own limits (its names, its failures) are looked at when its order's turn comes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from otscert.domain.budget import Bucket, Level, Rank, available, careful, is_parked
from otscert.domain.limits import NONE_KNOWN, LimitKind, Limits
from otscert.domain.quota import Quota, spend
from otscert.domain.registered_domain import registered_domain
from otscert.domain.turns import last_turns
from otscert.store.transaction import Transaction

_UNUSED = Level(tat_ms=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedLevel:
    """One bucket that boxes share, at one moment. Moments are Unix seconds."""

    bucket: Bucket
    level: Level
    limit: Quota | None
    """What the CA allows; None: it is not known, only that the CA has refused."""
    spendable: int | None
    """How much of it HQ spends itself when it is full."""
    room: int | None
    """How many orders could go now, first boots; None: as many as there are."""
    room_low: int | None
    """The same for those that leave a reserve: strangers and routine renewals."""
    full_at_s: int | None
    """When nothing of it is used any more, if nobody draws from it; None: it is full."""
    parked_until_s: int | None
    reason: str
    waiting: Mapping[Rank, int]
    served_at_s: Mapping[Rank, int]
    """When the last of each rank that waits now is expected to go."""

    @property
    def waiting_count(self) -> int:
        return sum(self.waiting.values())

    @property
    def last_served_at_s(self) -> int | None:
        return max(self.served_at_s.values(), default=None)


def shared_levels(
    transaction: Transaction,
    limits: Mapping[str, Limits],
    *,
    zone: str,
    public_suffix: bool | None,
    now_ms: int,
) -> list[SharedLevel]:
    """The buckets of all issuers in `limits` that boxes share, and whatever else orders wait for; by name."""
    waiting: dict[str, dict[Rank, int]] = {}
    for (name, rank), count in transaction.queue.counts().items():
        waiting.setdefault(name, {})[rank] = count
    buckets = {bucket for issuer in limits for bucket in _always(issuer, zone=zone, public_suffix=public_suffix)}
    buckets |= set(_parsed(waiting))
    levels = transaction.buckets.levels(sorted(buckets, key=lambda bucket: bucket.name))
    return [
        shared_level(
            bucket,
            levels.get(bucket, _UNUSED),
            limits.get(bucket.issuer, NONE_KNOWN).by_kind.get(bucket.kind),
            waiting.get(bucket.name, {}),
            now_ms=now_ms,
        )
        for bucket in sorted(buckets, key=lambda bucket: bucket.name)
    ]


def shared_level(
    bucket: Bucket, level: Level, limit: Quota | None, waiting: Mapping[Rank, int], *, now_ms: int
) -> SharedLevel:
    """What a bucket's level means now."""
    now_s = now_ms // 1000
    parked = is_parked(level, now_s=now_s)
    room = room_low = spendable = full_at_s = None
    served: dict[Rank, int] = {}
    if limit is not None:
        ours = careful(bucket.kind, limit)
        room, room_low = (available(ours, level, now_ms, rank) for rank in (Rank.FIRST_BOOT, Rank.ROUTINE))
        spendable = ours.count
        # A level that a wrong clock wrote is read as `spend` reads it.
        tat_ms = spend(ours, tat_ms=level.tat_ms, now_ms=now_ms, cost=0).tat_ms
        full_at_s = -(-tat_ms // 1000) if tat_ms > now_ms else None
        served = {rank: at_ms // 1000 for rank, at_ms in last_turns(ours, level, waiting, now_ms=now_ms).items()}
    elif parked:
        room = room_low = 0
        served = dict.fromkeys(waiting, level.parked_until_s)
    return SharedLevel(
        bucket=bucket,
        level=level,
        limit=limit,
        spendable=spendable,
        room=room,
        room_low=room_low,
        full_at_s=full_at_s,
        parked_until_s=level.parked_until_s if parked else None,
        reason=level.reason if parked else "",
        waiting=dict(waiting),
        served_at_s=served,
    )


def _always(issuer: str, *, zone: str, public_suffix: bool | None) -> Iterable[Bucket]:
    """What all boxes of an issuer draw from; below a public suffix no registered domain is shared."""
    yield Bucket(issuer=issuer, kind=LimitKind.ORDERS_PER_ACCOUNT, subject="")
    domains = {registered_domain(f"{box}.{zone}", zone=zone, public_suffix=public_suffix) for box in ("a", "b")}
    if len(domains) == 1:
        yield Bucket(issuer=issuer, kind=LimitKind.CERTIFICATES_PER_DOMAIN, subject=domains.pop())


def _parsed(names: Iterable[str]) -> Iterable[Bucket]:
    for name in names:
        try:
            yield Bucket.parse(name)
        except ValueError:
            continue  # of a kind that HQ does not count any more: those who wait for it go at the next look
