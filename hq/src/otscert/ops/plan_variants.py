"""What would change a plan: a larger limit, a place on the Public Suffix List, more orders in flight. It runs each.

The tiers are those of Let's Encrypt's form for rate limit adjustments (Boulder, sfe/overrides.go), each of orders or
certificates per week.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from otscert.domain.limits import WEEK_S, LimitKind
from otscert.domain.quota import Quota
from otscert.ops.plan import REQUESTS_PER_ORDER, Course, Plan
from otscert.ops.plan_gate import IN_FLIGHT
from otscert.ops.plan_model import MOST_STEPS, simulate

_WEEK_MS = WEEK_S * 1000
_K = 1000
TIERS = {
    LimitKind.ORDERS_PER_ACCOUNT: tuple(n * _K for n in (1, 5, 10, 25, 50, 75, 100, 175, 250, 500, 750, 1000)),
    LimitKind.CERTIFICATES_PER_DOMAIN: (300, *(n * _K for n in (1, 5, 10, 25, 50, 75, 100, 175, 250, 500, 1000))),
}
_MOST = 6
_STEPS = MOST_STEPS // 3
Tell = Callable[[str, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """A plan that differs from the first in what `name` says, and its course."""

    name: str
    plan: Plan
    course: Course


def run_variants(plan: Plan, course: Course, *, tell: Tell) -> list[Variant]:
    """Run what would help, one change at a time upon what bound the plan before; the last one has them all.

    `tell` hears which variant runs and how many of its boxes have their certificates.
    """
    found: list[Variant] = []
    for change in _changes(plan, course):
        ran = simulate(change.plan, most_steps=_STEPS, tell=lambda done, name=change.name: tell(name, done))  # type: ignore[misc]
        found.append(replace(change, course=ran))
    best = found[-1] if found else None
    while best is not None and len(found) < _MOST:
        further = [each for each in _changes(best.plan, best.course) if each.plan != best.plan]
        if not further or best.course.peak == 0:
            break
        step = further[-1]
        name = f"{best.name}, {step.name}"
        ran = simulate(step.plan, most_steps=_STEPS, tell=lambda done, name=name: tell(name, done))  # type: ignore[misc]
        best = Variant(name=name, plan=step.plan, course=ran)
        found.append(best)
    return found


def _changes(plan: Plan, course: Course) -> Iterator[Variant]:
    """Single changes that touch the limit which binds most."""
    binding = next(iter(course.binding), None)
    if binding == LimitKind.CERTIFICATES_PER_DOMAIN:
        yield from _tiers(plan, course, LimitKind.CERTIFICATES_PER_DOMAIN)
        yield Variant(name="zone on the Public Suffix List", plan=replace(plan, public_suffix=True), course=course)
    elif binding == LimitKind.ORDERS_PER_ACCOUNT:
        yield from _tiers(plan, course, LimitKind.ORDERS_PER_ACCOUNT)
    elif binding == IN_FLIGHT and "" in plan.limits.per_second:
        most = int(plan.limits.per_second[""].rate / REQUESTS_PER_ORDER * plan.order_s)
        if most > plan.in_flight:
            yield Variant(name=f"{IN_FLIGHT} = {most}", plan=replace(plan, in_flight=most), course=course)


def _tiers(plan: Plan, course: Course, kind: LimitKind) -> Iterator[Variant]:
    """A tier that shortens the queue to about a tenth, and the one with which nobody waits; the greatest if none."""
    now = plan.limits.by_kind[kind]
    weekly = now.count * WEEK_S / now.period_s
    larger = [tier for tier in TIERS[kind] if tier > weekly]
    if not larger:
        return
    needed = plan.boxes if plan.per_day is None else plan.per_day * WEEK_S // 86_400 + 1
    wanted = {
        next((tier for tier in larger if tier >= enough), larger[-1]) for enough in (min(needed, weekly * 10), needed)
    }
    for tier in sorted(wanted):
        limits = plan.limits.with_quotas({kind: Quota(count=tier, period_s=WEEK_S)})
        yield Variant(name=f"{kind.value} {tier:,} a week", plan=replace(plan, limits=limits), course=course)
