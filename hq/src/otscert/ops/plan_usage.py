"""How much of each limit a steady fleet uses, once all boxes have their certificates and renew. Arithmetic only."""

from __future__ import annotations

from dataclasses import dataclass

from otscert.domain.budget import Charge, Rank, draws
from otscert.domain.limits import DAY_S, LimitKind, quota_text
from otscert.ops.plan import ASKS_PER_DAY, DAY_MS, REQUESTS_PER_ORDER, Plan
from otscert.ops.plan_gate import IN_FLIGHT


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """`share` of the limit that is used: 1.0 is all of it, more cannot go well. `used` says it in the limit's units."""

    limit: str
    allows: str
    used: str
    share: float


def usage(plan: Plan) -> list[Usage]:
    """Each known limit with what renewals take of it, and HQ's own bound on orders in flight."""
    per_day = plan.boxes * DAY_MS / plan.renew_after_ms
    return [*_counted(plan, per_day), *_per_second(plan, per_day / DAY_S), _in_flight(plan, per_day / DAY_S)]


def _counted(plan: Plan, per_day: float) -> list[Usage]:
    charge = Charge(
        issuer="ca",
        names=("the names of one box",),
        registered_domains=("of one box" if plan.public_suffix else "of the fleet",),
        rank=Rank.ROUTINE,
        exemption=plan.renewals.exemption,
    )
    drawn = {bucket.kind: quota for bucket, quota in draws(charge, plan.limits)}
    found = []
    for kind, quota in plan.limits.by_kind.items():
        if kind is LimitKind.FAILURES_PER_NAME:
            continue  # a fleet whose validations fail is no steady one
        own = kind is LimitKind.CERTIFICATES_PER_NAMES or (
            kind is LimitKind.CERTIFICATES_PER_DOMAIN and plan.public_suffix
        )
        orders = (DAY_MS / plan.renew_after_ms if own else per_day) if kind in drawn else 0.0
        used = orders * quota.period_s / DAY_S
        allowed = drawn.get(kind, quota)
        whose = " of each box" if own else ""
        found.append(
            Usage(
                limit=kind.value + whose,
                allows=quota_text(quota),
                used="nothing: renewals are exempt" if kind not in drawn else f"{used:,.1f}",
                share=orders * allowed.period_s / DAY_S / allowed.count,
            )
        )
    return found


def _per_second(plan: Plan, orders_per_s: float) -> list[Usage]:
    asked = {
        "newOrder": ("newOrder, per second", orders_per_s),
        "renewalInfo": ("renewalInfo, per second", plan.boxes * ASKS_PER_DAY / DAY_S),
        "": ("all other requests, per second", orders_per_s * REQUESTS_PER_ORDER),
    }
    return [
        Usage(
            limit=name,
            allows=f"{plan.limits.per_second[member].rate:g}",
            used=f"{rate:,.2f}",
            share=rate / plan.limits.per_second[member].rate,
        )
        for member, (name, rate) in asked.items()
        if member in plan.limits.per_second
    ]


def _in_flight(plan: Plan, orders_per_s: float) -> Usage:
    at_once = orders_per_s * plan.order_s
    return Usage(
        limit=f"{IN_FLIGHT} of the issuer",
        allows=f"{plan.in_flight:,}",
        used=f"{at_once:,.1f}",
        share=at_once / plan.in_flight,
    )
