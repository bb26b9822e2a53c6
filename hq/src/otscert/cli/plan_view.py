"""How a plan is shown: sentences and tables for people, one document for scripts, title and facts of the chart."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from otscert.cli.show import print_fields, print_table
from otscert.domain.limits import quota_text
from otscert.ops.plan import DAY_MS, Course, Plan, Profile, Renewals
from otscert.ops.plan_usage import Usage, usage
from otscert.ops.plan_variants import Variant

_HALF_MINUTE_S = 30
_COUNTED = {
    Renewals.ARI: "in the CA's window, with replaces",
    Renewals.NAMES: "by their names, without a window",
    Renewals.NEW: "as new orders",
}


def title_of(plan: Plan, profile: Profile) -> str:
    pace = "all at once" if plan.per_day is None else f"{plan.per_day:,} a day"
    return f"{plan.boxes:,} boxes, {pace}, {profile.value}: the queue for first certificates"


def facts_of(plan: Plan, course: Course) -> tuple[str, str]:
    """The two lines below the chart's title."""
    bound = next(iter(course.binding), None)
    limit = "nobody waits" if bound is None else f"bound by {bound}"
    suffix = "zone on the Public Suffix List" if plan.public_suffix else "all boxes below one registered domain"
    limits = ", ".join(
        f"{kind.value} {quota_text(quota)}" for kind, quota in plan.limits.by_kind.items() if _shown(kind)
    )
    return (
        f"last certificate {_when(course.served_ms)}; longest wait {lasting(course.longest_wait_s)}; {limit}",
        f"{plan.limits.name}{': ' if limits else ''}{limits}; {suffix}",
    )


def print_plan(plan: Plan, profile: Profile, course: Course, variants: Sequence[Variant], *, svg: Path | None) -> None:
    print_fields(title_of(plan, profile).partition(":")[0], _fields(plan, course))
    used = usage(plan)
    typer.echo("\nthe fleet after the launch")
    print_table(
        ("limit", "allows", "renewals use", "share"),
        [(each.limit, each.allows, each.used, _share(each)) for each in used],
    )
    if variants:
        typer.echo("\nwhat would change it")
        rows = [_row("as planned", course), *(_row(each.name, each.course) for each in variants)]
        print_table(("change", "done after", "longest wait", "median wait", "queue's peak", "then bound by"), rows)
    for warning in warnings_of(course, used):
        typer.echo(f"\n! {warning}")
    if svg is not None:
        typer.echo(f"\nthe queue over time is drawn in {svg}")


def warnings_of(course: Course, used: Sequence[Usage]) -> list[str]:
    """What a maker must not overlook."""
    found = []
    if course.served_ms is None:
        found.append(f"{course.waiting:,} boxes never get a certificate: the limits leave no room for them")
    elif course.computed:
        found.append("the last certificate lies beyond what was simulated: its moment follows from the rate reached")
    found += [
        f"the fleet's renewals need {each.share:.0%} of {each.limit}: certificates would lapse"
        for each in used
        if each.share > 1
    ]
    if course.lapsed:
        found.append(f"{course.lapsed:,} certificates ended before their renewal had its turn")
    return found


def as_document(plan: Plan, profile: Profile, course: Course, variants: Sequence[Variant]) -> dict[str, Any]:
    """All of it for `--json`; spans are seconds from the launch's first moment."""
    used = usage(plan)
    return {
        "boxes": plan.boxes,
        "per_day": plan.per_day,
        "profile": profile.value,
        "limits": {
            "name": plan.limits.name,
            **{kind.value: quota_text(quota) for kind, quota in plan.limits.by_kind.items()},
        },
        "public_suffix": plan.public_suffix,
        "renewals": plan.renewals.value,
        "strangers": plan.strangers,
        "max_in_flight": plan.in_flight,
        **_numbers(course),
        "renewals_per_day": round(course.renewals_per_day, 1),
        "busiest_renewals_per_s": course.busiest_per_s,
        "lapsed": course.lapsed,
        "usage": [
            {"limit": each.limit, "allows": each.allows, "used": each.used, "share": round(each.share, 4)}
            for each in used
        ],
        "variants": [{"change": each.name, **_numbers(each.course)} for each in variants],
        "warnings": warnings_of(course, used),
        "queue": [
            {"at_s": point.at_ms // 1000, "waiting": point.queue, "renewing": point.renewing} for point in course.points
        ],
    }


def _numbers(course: Course) -> dict[str, Any]:
    return {
        "last_certificate_s": None if course.served_ms is None else course.served_ms // 1000,
        "last_certificate_computed": course.computed,
        "longest_wait_s": course.longest_wait_s,
        "median_wait_s": course.median_wait_s,
        "peak": course.peak,
        "peak_s": course.peak_ms // 1000,
        "bound_by": {name: round(share, 4) for name, share in course.binding.items()},
    }


def _fields(plan: Plan, course: Course) -> dict[str, str]:
    bound = ", ".join(f"{name} ({share:.0%} of the time)" for name, share in course.binding.items())
    launch = "" if plan.per_day is None else f"; the last box is switched on {_when(plan.launch_ms)}"
    every = lasting(plan.renew_after_ms // 1000)
    fields = {
        "last certificate": _when(course.served_ms) + launch,
        "longest wait": f"{lasting(course.longest_wait_s)}; median {lasting(course.median_wait_s)}",
        "queue's peak": f"{course.peak:,} boxes, {_when(course.peak_ms)}" if course.peak else "none: nobody waits",
        "bound by": bound or "nothing",
        "renewals": (
            f"{course.renewals_per_day:,.0f} orders a day, each box every {every}, counted {_COUNTED[plan.renewals]}"
        ),
    }
    if course.busiest_per_s is not None:
        average = course.renewals_per_day * 1000 / DAY_MS
        fields["busiest hours"] = f"{course.busiest_per_s:,.2f} renewals per second; {average:,.2f} on average"
    fields["limits of"] = facts_of(plan, course)[1]
    return fields


def _row(name: str, course: Course) -> tuple[str, ...]:
    return (
        name,
        _when(course.served_ms).removeprefix("after "),
        lasting(course.longest_wait_s),
        lasting(course.median_wait_s),
        f"{course.peak:,}",
        next(iter(course.binding), "nothing"),
    )


def _when(at_ms: int | None) -> str:
    return "never" if at_ms is None else f"after {lasting(at_ms // 1000)}"


def lasting(span_s: int) -> str:
    """A span to two figures or so, in the unit that people would use."""
    if span_s < 2 * _HALF_MINUTE_S:
        return "no time" if span_s < 1 else f"{span_s} s"
    for size_s, unit in ((365 * 86_400, "years"), (86_400, "days"), (3600, "hours")):
        if span_s >= 2 * size_s:
            number = span_s / size_s
            return f"{number:,.0f} {unit}" if number >= 100 else f"{number:.1f} {unit}"
    return f"{round(span_s / 60)} min"


def _share(each: Usage) -> str:
    return "0 %" if each.share == 0 else "< 1 %" if each.share < 0.01 else f"{each.share * 100:,.0f} %"


def _shown(kind: object) -> bool:
    return str(kind) in {"orders-per-account", "certificates-per-domain"}
