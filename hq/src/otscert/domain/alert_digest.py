"""The daily message: what is wrong, what got well, how many certificates, how the issuers are. Pure.

It is also sent when all is well, so that its absence means something.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from otscert.domain.alert_facts import BudgetFacts, ChannelFacts, IssuerFacts
from otscert.domain.alert_message import Message, age, block, fields, footer, item, moment, severity_of
from otscert.domain.alert_news import Known
from otscert.domain.alerts import DAY_S, plural

LATE_S = 12 * 3600
"""A digest that HQ could not send at its time is sent so much later at the most; then the next one is due."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """Of the last day, but for what is `boxes`, `ending` (by days) and `orders_waiting`: those are of now."""

    boxes: int
    issued: int
    renewals: int
    """Boxes that asked for their next certificate."""
    admitted: int
    failed: int
    revoked: int
    ending: Sequence[tuple[int, int]]
    orders_waiting: int
    issuers: Sequence[IssuerFacts] = ()
    budgets: Sequence[BudgetFacts] = ()
    given_up: Sequence[ChannelFacts] = field(default_factory=tuple)
    """Channels with messages that were given up in the last day."""


def due_digest_s(*, at_s: int, last_s: int | None, now_s: int) -> int | None:
    """The moment whose digest is to be sent now; None: none is. `at_s` are seconds since midnight, UTC."""
    moment_s = now_s - (now_s - at_s) % DAY_S
    if last_s is None or last_s >= moment_s or now_s - moment_s > LATE_S:
        return None
    return moment_s


def digest(known: Sequence[Known], numbers: Numbers, *, hq: str, url: str, message_id: str, now_s: int) -> Message:
    """Write the digest of the last day."""
    wrong = sorted((row for row in known if row.open), key=lambda row: -row.alert.severity.weight)
    over = [row for row in known if row.told_s is not None and row.over_s is not None and now_s - row.over_s <= DAY_S]
    worst = severity_of(wrong)
    head = "all is well" if worst is None else f"{plural(len(wrong), 'alert')}, the worst {worst.value}"
    lines = [f"The day until {moment(now_s)}: {head}.", ""]
    for row in wrong:
        lines += [*block(row, change=None, now_s=now_s), ""]
    for row in over:
        lines += [*block(row, change=None, now_s=now_s), ""]
    lines += ["Certificates", *fields(_certificates(numbers)), ""]
    lines += ["Issuers", *fields(_issuers(numbers, now_s=now_s)), ""]
    if numbers.given_up:
        lines += ["Messages that were given up", *fields((each.name, _lost(each)) for each in numbers.given_up), ""]
    return Message(
        id=message_id,
        event="digest",
        subject=f"[{hq}] daily digest: {head}",
        text="\n".join([*lines, *footer(hq, url)]),
        at_s=now_s,
        items=[item(row, change=None, now_s=now_s) for row in (*wrong, *over)],
    )


def _certificates(numbers: Numbers) -> list[tuple[str, str]]:
    ending = [f"{count} within {plural(days, 'day')}" for days, count in numbers.ending]
    return [
        ("issued", f"{numbers.issued}"),
        ("renewals", f"{plural(numbers.renewals, 'box', 'boxes')} asked for the next one"),
        ("new", plural(numbers.admitted, "box", "boxes")),
        ("failed", plural(numbers.failed, "order")),
        ("revoked", f"{numbers.revoked}"),
        ("boxes", f"{numbers.boxes} in service"),
        ("waiting", plural(numbers.orders_waiting, "order")),
        ("ending", ", ".join(ending)),
    ]


def _issuers(numbers: Numbers, *, now_s: int) -> list[tuple[str, str]]:
    rows = []
    for each in numbers.issuers:
        last = (
            "no certificate yet"
            if each.last_success_s is None
            else f"last certificate {age(now_s - each.last_success_s)} ago"
        )
        waits = sum(budget.waiting for budget in numbers.budgets if budget.issuer == each.name)
        limits = (
            f"{plural(waits, 'order waits', 'orders wait')} for its limits" if waits else "nobody waits for its limits"
        )
        rows.append((each.name, f"{last}; {limits}"))
    return rows


def _lost(channel: ChannelFacts) -> str:
    return f"{plural(channel.waiting, 'message')}, the last one for: {channel.problem}"
