"""How many orders of one kind may be placed now: HQ's own budget functions, asked for many boxes at once.

Only limits that boxes share are asked here. One box's own limits (its exact names, its failures; its registered domain
when the zone is a public suffix) see one order in each life: how much of them that takes is `plan_usage`'s question.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from otscert.domain.budget import Bucket, Charge, Exemption, Level, Rank, available, decide, draws
from otscert.domain.limits import LimitKind, Limits
from otscert.domain.quota import Quota
from otscert.ops.plan import REQUESTS_PER_ORDER, Plan

UNLIMITED = 10**12
LOAD_BALANCER = "requests-per-second"
IN_FLIGHT = "max_in_flight"
_UNUSED = Level(tat_ms=None)


def shared_quotas(plan: Plan) -> dict[LimitKind, Quota]:
    """What all boxes of the plan draw from together, as HQ spends it."""
    charge = charge_of(Rank.FIRST_BOOT, Exemption.NONE, public_suffix=plan.public_suffix)
    return {bucket.kind: quota for bucket, quota in draws(charge, plan.limits)}


def charge_of(rank: Rank, exemption: Exemption, *, public_suffix: bool) -> Charge:
    """An order of any box of the fleet; without names it is only asked what boxes share."""
    domains = () if public_suffix else ("the registered domain",)
    return Charge(issuer="ca", names=(), registered_domains=domains, rank=rank, exemption=exemption)


def orders_per_s(plan: Plan) -> tuple[float, str]:
    """How fast orders go through at the most, whatever the budget says, and what holds them."""
    paces = [(plan.in_flight / plan.order_s, IN_FLIGHT)]
    if "newOrder" in plan.limits.per_second:
        paces.append((plan.limits.per_second["newOrder"].rate, LOAD_BALANCER))
    if "" in plan.limits.per_second:
        paces.append((plan.limits.per_second[""].rate / REQUESTS_PER_ORDER, LOAD_BALANCER))
    return min(paces)


@dataclass(slots=True, kw_only=True)
class Gate:
    """The levels of the shared buckets while a plan runs."""

    limits: Limits
    public_suffix: bool
    _levels: dict[Bucket, Level] = field(default_factory=dict)

    def room(self, rank: Rank, exemption: Exemption, *, now_ms: int) -> tuple[int, str]:
        """How many orders may be placed now, and the limit that allows no more."""
        charge = charge_of(rank, exemption, public_suffix=self.public_suffix)
        rooms = [
            (available(quota, self._levels.get(bucket, _UNUSED), now_ms, rank), bucket.kind.value)
            for bucket, quota in draws(charge, self.limits)
        ]
        return min(rooms, default=(UNLIMITED, ""))

    def spend(self, rank: Rank, exemption: Exemption, *, now_ms: int, count: int) -> None:
        """Place so many orders; no more than there is `room` for, else `ValueError`."""
        charge = charge_of(rank, exemption, public_suffix=self.public_suffix)
        decision = decide(charge, self.limits, self._levels, now_ms, count)
        if not decision.allowed:
            raise ValueError(f"{count} orders do not fit: {decision.reason}")
        self._levels.update({bucket: Level(tat_ms=tat_ms) for bucket, tat_ms in decision.levels_after.items()})
