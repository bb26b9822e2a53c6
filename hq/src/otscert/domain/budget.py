"""Whether an order may be placed at a CA now, without the CA having to refuse it. Knows the CA's limits as data.

Who goes first while a limit is short, which buckets an order draws from, and until when it waits. Pure: `now` and the
levels of the buckets are given; they are kept by `store.buckets`, who waits is in the table of orders.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, IntEnum

from otscert.domain.limits import LimitKind, Limits
from otscert.domain.quota import Quota, spend
from otscert.domain.spans import in_words

BEHIND_MS = 5_000
"""How much later than the spending, at most, an order is expected at the CA: what refills meanwhile is kept back."""
LONGEST_PARK_S = 8 * 24 * 3600
"""Nobody parks for longer (`acme.retry_after.MAX_S`): a moment beyond was written by a wrong clock."""
_RESERVE_SHARE = 10


class Rank(IntEnum):
    """Who goes first while a limit is short; the lower the sooner."""

    FIRST_BOOT = 0  # a box that has no certificate yet
    EXPIRING = 1  # so little of the life is left that something has gone wrong
    INCIDENT = 2  # the CA or the operator wants it replaced now
    STRANGER = 3  # a first boot that nobody vouched for (policy open): must not starve the others
    ROUTINE = 4


LOW_RANKS = frozenset({Rank.STRANGER, Rank.ROUTINE})
"""These leave a tenth of each shared bucket untouched, so that a first boot finds room at once."""
SHARED = frozenset({LimitKind.ORDERS_PER_ACCOUNT, LimitKind.CERTIFICATES_PER_DOMAIN})


class Exemption(Enum):
    """What a CA lets an order pass without counting it."""

    NONE = "none"
    SAME_NAMES = "same names"  # these exact names had a certificate of this CA before
    ARI_WINDOW = "ari window"  # it replaces one of this account, inside the window that the CA suggests


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """What is counted together: all orders of an account, all certificates of a registered domain, ..."""

    issuer: str
    kind: LimitKind
    subject: str
    """The registered domain, the names, the name; empty for what the whole account shares. Never holds a space."""

    @property
    def name(self) -> str:
        """The bucket in the store and in `Order.waits_for`; `parse` reads it back."""
        return f"{self.issuer} {self.kind.value} {self.subject}".rstrip()

    @property
    def shared(self) -> bool:
        """Whether many boxes draw from it: they wait in its queue. One of its own only postpones a box."""
        return self.kind in SHARED

    @staticmethod
    def parse(name: str) -> Bucket:
        """Raises `ValueError` for what is no bucket's name."""
        issuer, kind, *subject = name.split(" ")
        return Bucket(issuer=issuer, kind=LimitKind(kind), subject=" ".join(subject))


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """How far a bucket is used up: `domain.quota`'s moment (None: never used), and what the CA said of it."""

    tat_ms: int | None
    parked_until_s: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """What one new order asks of the budget. Without `names` only what boxes share is looked at: a whole cohort."""

    issuer: str
    names: tuple[str, ...]
    registered_domains: tuple[str, ...]
    rank: Rank
    exemption: Exemption


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetDecision:
    """`levels_after` is what to store: nothing for a refusal, which takes nothing from any bucket."""

    allowed: bool
    levels_after: Mapping[Bucket, int]
    waits_for: Bucket | None
    """The bucket that has no room for the longest; None when allowed."""
    retry_after_s: int
    """0 when allowed; else the seconds until that bucket has room, if nobody takes it before."""
    reason: str


def careful(kind: LimitKind, quota: Quota) -> Quota:
    """How much of a CA's limit HQ spends itself.

    Of the shared ones all but what refills while an order is on its way, so that the CA's own count, which runs a
    little later, never meets a bucket that HQ believes refilled. Of the limits on one box's names, which nobody can
    lift, four of five certificates and three of five failures: a person who tests by hand finds something left.
    """
    if kind is LimitKind.CERTIFICATES_PER_NAMES:
        return Quota(count=max(1, quota.count * 4 // 5), period_s=quota.period_s)
    if kind is LimitKind.FAILURES_PER_NAME:
        return Quota(count=max(1, quota.count * 3 // 5), period_s=quota.period_s)
    kept = min(-(-BEHIND_MS // quota.interval_ms), quota.count // 2)
    count = quota.count - kept
    return Quota(count=count, period_s=-(-quota.period_s * count // quota.count))


def draws(charge: Charge, limits: Limits) -> tuple[tuple[Bucket, Quota], ...]:
    """Which buckets a new order draws one from, and how much of each HQ spends (`careful`)."""
    exemption = _exemption(charge, limits)
    if exemption is Exemption.ARI_WINDOW:
        return ()
    kinds = [LimitKind.CERTIFICATES_PER_NAMES]
    if exemption is Exemption.NONE:
        kinds = [LimitKind.ORDERS_PER_ACCOUNT, LimitKind.CERTIFICATES_PER_DOMAIN, LimitKind.CERTIFICATES_PER_NAMES]
    return tuple(
        (bucket, careful(kind, limits.by_kind[kind]))
        for kind in kinds
        if kind in limits.by_kind
        for bucket in _buckets(charge, kind)
    )


def guards(charge: Charge, limits: Limits) -> tuple[tuple[Bucket, Quota], ...]:
    """Which buckets must not be empty, though a new order takes nothing: failures are counted when they happen."""
    kind = LimitKind.FAILURES_PER_NAME
    if kind not in limits.by_kind:
        return ()
    return tuple((bucket, careful(kind, limits.by_kind[kind])) for bucket in _buckets(charge, kind))


def buckets_of(charge: Charge, limits: Limits) -> tuple[Bucket, ...]:
    """Every bucket whose level `decide` looks at; one without a known limit may still be parked by the CA."""
    exemption = _exemption(charge, limits)
    kinds = [LimitKind.FAILURES_PER_NAME]
    if exemption is not Exemption.ARI_WINDOW:
        kinds.append(LimitKind.CERTIFICATES_PER_NAMES)
    if exemption is Exemption.NONE:
        kinds += [LimitKind.ORDERS_PER_ACCOUNT, LimitKind.CERTIFICATES_PER_DOMAIN]
    return tuple(bucket for kind in kinds for bucket in _buckets(charge, kind))


def decide(
    charge: Charge, limits: Limits, levels: Mapping[Bucket, Level], now_ms: int, count: int = 1
) -> BudgetDecision:
    """Decide whether `count` such orders may go now: from all buckets at once, or from none."""
    refusals = list(_refusals(charge, limits, levels, now_ms, count))
    if refusals:
        retry_after_s, bucket, reason = max(refusals, key=lambda refusal: refusal[0])
        return BudgetDecision(
            allowed=False, levels_after={}, waits_for=bucket, retry_after_s=retry_after_s, reason=reason
        )
    after = {
        bucket: spend(quota, tat_ms=_level(levels, bucket).tat_ms, now_ms=now_ms, cost=count).tat_ms
        for bucket, quota in draws(charge, limits)
    }
    return BudgetDecision(
        allowed=True, levels_after=after, waits_for=None, retry_after_s=0, reason="the CA's limits leave room"
    )


def available(quota: Quota, level: Level, now_ms: int, rank: Rank) -> int:
    """How many orders of this rank could go now, as far as one bucket is concerned. `quota` as `draws` gives it."""
    if is_parked(level, now_s=now_ms // 1000):
        return 0
    left = spend(quota, tat_ms=level.tat_ms, now_ms=now_ms, cost=0).remaining
    return max(0, left - reserve(quota, rank))


def reserve(quota: Quota, rank: Rank) -> int:
    """How many of a shared bucket a rank leaves for those before it."""
    return quota.count // _RESERVE_SHARE if rank in LOW_RANKS else 0


def is_parked(level: Level, *, now_s: int) -> bool:
    """Whether the CA has said that nothing of the bucket goes yet."""
    return now_s < level.parked_until_s <= now_s + LONGEST_PARK_S


def _refusals(
    charge: Charge, limits: Limits, levels: Mapping[Bucket, Level], now_ms: int, count: int
) -> Iterator[tuple[int, Bucket, str]]:
    now_s = now_ms // 1000
    for bucket in buckets_of(charge, limits):
        level = _level(levels, bucket)
        if is_parked(level, now_s=now_s):
            yield level.parked_until_s - now_s, bucket, f"the CA has said: {level.reason}"
    for bucket, quota in draws(charge, limits):
        kept = reserve(quota, charge.rank) if bucket.shared else 0
        decision = spend(quota, tat_ms=_level(levels, bucket).tat_ms, now_ms=now_ms, cost=count + kept)
        if not decision.allowed:
            yield decision.retry_after_s, bucket, _why(bucket, limits)
    for bucket, quota in guards(charge, limits):
        decision = spend(quota, tat_ms=_level(levels, bucket).tat_ms, now_ms=now_ms)
        if not decision.allowed:
            yield decision.retry_after_s, bucket, _why(bucket, limits)


def _why(bucket: Bucket, limits: Limits) -> str:
    quota = limits.by_kind[bucket.kind]
    span = in_words(quota.period_s)
    match bucket.kind:
        case LimitKind.ORDERS_PER_ACCOUNT:
            return f"the CA allows {quota.count:,} new orders in {span}"
        case LimitKind.CERTIFICATES_PER_DOMAIN:
            return f"the CA allows {quota.count:,} new certificates below {bucket.subject} in {span}"
        case LimitKind.CERTIFICATES_PER_NAMES:
            most = careful(bucket.kind, quota).count
            return f"the CA allows {quota.count:,} certificates for the same names in {span}, HQ spends {most:,}"
        case LimitKind.FAILURES_PER_NAME:
            most = careful(bucket.kind, quota).count
            allows = f"the CA allows {quota.count:,} failed validations of {bucket.subject} in {span}"
            return f"{allows}, HQ stops after {most:,}"


def _exemption(charge: Charge, limits: Limits) -> Exemption:
    if charge.exemption is Exemption.ARI_WINDOW and limits.renewals_exempt:
        return Exemption.ARI_WINDOW
    if charge.exemption is Exemption.SAME_NAMES and limits.same_names_exempt:
        return Exemption.SAME_NAMES
    return Exemption.NONE


def _buckets(charge: Charge, kind: LimitKind) -> tuple[Bucket, ...]:
    match kind:
        case LimitKind.ORDERS_PER_ACCOUNT:
            subjects = [""]
        case LimitKind.CERTIFICATES_PER_DOMAIN:
            subjects = sorted(set(charge.registered_domains))
        case LimitKind.CERTIFICATES_PER_NAMES:
            subjects = [",".join(sorted(set(charge.names)))] if charge.names else []
        case LimitKind.FAILURES_PER_NAME:
            # A wildcard is proved at the name below which it stands; whether the CA counts the two together is its own.
            subjects = sorted({name.removeprefix("*.") for name in charge.names})
    return tuple(Bucket(issuer=charge.issuer, kind=kind, subject=subject) for subject in subjects)


_UNUSED = Level(tat_ms=None)


def _level(levels: Mapping[Bucket, Level], bucket: Bucket) -> Level:
    return levels.get(bucket, _UNUSED)
