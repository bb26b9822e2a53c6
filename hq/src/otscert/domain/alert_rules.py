"""What is bad enough to tell somebody: a rule for each kind of alert, from the facts and the time to what is wrong now.

Pure. Who has been told already, and what therefore is news, is `alert_news`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace

from otscert.domain.alert_facts import Facts, Some
from otscert.domain.alerts import DAY_S, HOUR_S, MINUTE_S, Alert, Kind, Severity, clean, plural

FAILING_S = 15 * MINUTE_S
"""How long an issuer fails before it is called down: a CA's deployment is over sooner."""
UNATTENDED_S = 15 * MINUTE_S
OLD_ORDER_S = DAY_S
BUDGET_S = HOUR_S
REVOCATION_S = DAY_S
WORKER_GONE_S = 3 * MINUTE_S
CHANNEL_S = 30 * MINUTE_S
LOW_DISK_BYTES, LEAST_DISK_BYTES = 1_000_000_000, 200_000_000
LEAF_ENDS_S, LEAF_ENDS_SOON_S = 59 * DAY_S, 14 * DAY_S
"""HQ renews its own certificates 60 days ahead, where it can: after 59 it has shown that it cannot."""
ROOT_ENDS_S = 2 * 365 * DAY_S
_COPIES = 2

Finder = Callable[[Facts, int], Iterable[Alert]]


def holding(facts: Facts, *, now_s: int) -> list[Alert]:
    """Everything that is wrong now; at most one alert for each kind and subject."""
    return [alert for find in RULES.values() for alert in find(facts, now_s)]


def _alert(kind: Kind, severity: Severity, some: Some, what: str, now_s: int, **more: str) -> Alert:
    details = {name.replace("_", " "): clean(text) for name, text in more.items() if text}
    since_s = now_s if some.since_s is None else min(some.since_s, now_s)
    examples = tuple(clean(text) for text in some.examples)
    return Alert(
        kind=kind,
        subject="",
        severity=severity,
        since_s=since_s,
        count=some.count,
        what=what,
        examples=examples,
        details=details,
    )


def _of(subject: str, alert: Alert) -> Alert:
    return replace(alert, subject=subject)


def _late(facts: Facts, now_s: int) -> Iterator[Alert]:
    late, lapsed = facts.late, facts.lapsed
    if lapsed.count:
        sentence = f"{plural(lapsed.count, 'box that calls HQ has', 'boxes that call HQ have')} an expired certificate"
        more = f"{late.count} more should have got another one long ago" if late.count else ""
        yield _alert(Kind.RENEWAL_LATE, Severity.CRITICAL, lapsed, sentence, now_s, besides=more)
    elif late.count:
        sentence = (
            plural(late.count, "box that calls HQ", "boxes that call HQ")
            + " should have got another certificate long ago"
        )
        yield _alert(Kind.RENEWAL_LATE, Severity.WARNING, late, sentence, now_s)


def _stuck(facts: Facts, now_s: int) -> Iterator[Alert]:
    due, old = facts.unattended, facts.old_orders
    if due.count and due.since_s is not None and now_s - due.since_s >= UNATTENDED_S:
        sentence = plural(
            due.count, "order could go on, and nobody works on it", "orders could go on, and nobody works on them"
        )
        yield _alert(Kind.ORDER_STUCK, Severity.CRITICAL, due, sentence, now_s)
    elif old.count:
        sentence = f"{plural(old.count, 'order')} got no certificate for more than a day"
        yield _alert(Kind.ORDER_STUCK, Severity.WARNING, old, sentence, now_s)


def _away(facts: Facts, now_s: int) -> Iterator[Alert]:
    if facts.away.count:
        sentence = f"{plural(facts.away.count, 'box', 'boxes')} did not call for long, and the certificate ends soon"
        yield _alert(Kind.BOX_AWAY, Severity.WARNING, facts.away, sentence, now_s)


def _not_served(facts: Facts, now_s: int) -> Iterator[Alert]:
    held, other = facts.held_back, facts.not_served
    some = held if held.count else other
    if not some.count:
        return
    sentence = (
        f"{plural(held.count, 'box gets', 'boxes get')} no more certificates: the last two were never seen served"
        if held.count
        else f"{plural(other.count, 'box does', 'boxes do')} not serve the newest certificate, issued over a day ago"
    )
    more = f"{other.count} more do not serve the newest one yet" if held.count and other.count else ""
    yield _alert(Kind.NOT_SERVED, Severity.WARNING, some, sentence, now_s, besides=more)


def _budget(facts: Facts, now_s: int) -> Iterator[Alert]:
    for issuer in sorted({each.issuer for each in facts.budgets}):
        short = [each for each in facts.budgets if each.issuer == issuer and now_s - each.since_s >= BUDGET_S]
        if not short:
            continue
        count, urgent = sum(each.waiting for each in short), sum(each.urgent for each in short)
        some = Some(
            count=count,
            since_s=min(each.since_s for each in short),
            examples=tuple(each.bucket for each in sorted(short, key=lambda each: -each.waiting)[:3]),
        )
        severity = Severity.CRITICAL if urgent else Severity.WARNING
        sentence = f"{plural(count, 'order waits', 'orders wait')} because the limits of {issuer} are used up"
        words = next((each.reason for each in short if each.reason), "")
        near = f"{urgent} of them for boxes whose certificate nears its end" if urgent else ""
        yield _of(issuer, _alert(Kind.BUDGET_SHORT, severity, some, sentence, now_s, urgent=near, CA_says=words))


def _down(facts: Facts, now_s: int) -> Iterator[Alert]:
    failing = [
        each
        for each in facts.issuers
        if each.failing_since_s is not None and now_s - each.failing_since_s >= FAILING_S and not each.account_problem
    ]
    for each in failing:
        alone = len(failing) == len(facts.issuers)
        some = Some(count=each.failures, since_s=each.failing_since_s)
        others = "" if alone else "the other issuers take over where that is allowed"
        severity = Severity.CRITICAL if alone else Severity.WARNING
        sentence = f"the issuer {each.name} fails: {plural(each.failures, 'time')} in a row"
        yield _of(
            each.name,
            _alert(Kind.ISSUER_DOWN, severity, some, sentence, now_s, last_failure=each.reason, others=others),
        )


_ACCOUNT = {
    "lost": "the CA does not know HQ's account any more",
    "paused": "the CA has paused HQ's account for some names",
    "terms": "the CA wants its new terms of service to be agreed to",
    "refused": "the CA refuses HQ's account",
}


def _account(facts: Facts, now_s: int) -> Iterator[Alert]:
    for each in facts.issuers:
        if not each.account_problem:
            continue
        sentence = f"the account at {each.name}: {_ACCOUNT.get(each.account_problem, each.account_problem)}"
        alert = _alert(
            Kind.ISSUER_ACCOUNT,
            Severity.CRITICAL,
            Some(count=1, since_s=each.account_since_s),
            sentence,
            now_s,
            CA_says=each.account_reason,
            # Cut off it would lead nowhere; `otscert issuer show` has it whole.
            go_to=each.account_link if clean(each.account_link) == each.account_link else "",
        )
        yield _of(each.name, alert)


def _clones(facts: Facts, now_s: int) -> Iterator[Alert]:
    some = facts.shared if facts.shared.count else facts.copied_units
    copies = facts.copies_told if facts.copies_told >= _COPIES else 0
    told = f"{plural(copies, 'copy', 'copies')} of boxes called in the last day, and were told to start over"
    if some.count:
        sentence = f"{plural(some.count, 'identity is', 'identities are')} shared by two boxes"
        yield _alert(Kind.CLONE_SEEN, Severity.WARNING, some, sentence, now_s, besides=told if copies else "")
    elif copies:
        yield _alert(Kind.CLONE_SEEN, Severity.WARNING, Some(count=copies), told, now_s)


def _repeats(facts: Facts, now_s: int) -> Iterator[Alert]:
    for model, since_s in facts.repeating:
        sentence = f"the randomness of model {model} repeats: two starts had the same"
        some = Some(count=1, since_s=since_s)
        yield _of(model, _alert(Kind.RNG_REPEATS, Severity.CRITICAL, some, sentence, now_s))


def _disk(facts: Facts, now_s: int) -> Iterator[Alert]:
    free = facts.disk_free_bytes
    if free is not None and free < LOW_DISK_BYTES:
        severity = Severity.CRITICAL if free < LEAST_DISK_BYTES else Severity.WARNING
        sentence = f"the disk of HQ's data folder has {free // 1_000_000} MB left"
        yield _alert(Kind.DISK_NEARLY_FULL, severity, Some(count=1), sentence, now_s)


def _own(facts: Facts, now_s: int) -> Iterator[Alert]:
    for name, ends_s in facts.own_ends:
        left_s = ends_s - now_s
        if left_s >= (ROOT_ENDS_S if name == "root" else LEAF_ENDS_S):
            continue
        soon = left_s < (LEAF_ENDS_S if name == "root" else LEAF_ENDS_SOON_S)
        when = f"ends in {plural(left_s // DAY_S, 'day')}" if left_s > 0 else "has ended"
        what = "HQ's root" if name == "root" else f"HQ's own {name} certificate"
        severity = Severity.CRITICAL if soon else Severity.WARNING
        yield _of(name, _alert(Kind.HQ_CERTIFICATE, severity, Some(count=1), f"{what} {when}", now_s))


def _worker(facts: Facts, now_s: int) -> Iterator[Alert]:
    seen_s = facts.worker_seen_s
    if seen_s is not None and now_s - seen_s >= WORKER_GONE_S:
        some = Some(count=1, since_s=seen_s)
        yield _alert(Kind.HQ_NO_WORKER, Severity.CRITICAL, some, "no HQ process with the role worker runs", now_s)


def _revocations(facts: Facts, now_s: int) -> Iterator[Alert]:
    waiting = facts.revocations
    if waiting.since_s is not None and now_s - waiting.since_s >= REVOCATION_S:
        sentence = f"{plural(waiting.count, 'certificate')} should have been revoked, and the CA has not done it"
        yield _alert(Kind.REVOCATION_STUCK, Severity.WARNING, waiting, sentence, now_s)


def _incidents(facts: Facts, now_s: int) -> Iterator[Alert]:
    for each in facts.incidents:
        sentence = f"a reissue runs: {each.left} of {plural(each.marked, 'certificate')} still to be replaced"
        some = Some(count=max(each.marked, 1), since_s=each.started_s)
        alert = _alert(Kind.INCIDENT_RUNNING, Severity.WARNING, some, sentence, now_s, because=each.reason)
        yield _of(each.id, alert)


def _channels(facts: Facts, now_s: int) -> Iterator[Alert]:
    for each in facts.channels:
        if now_s - each.since_s < CHANNEL_S:
            continue
        sentence = f"{plural(each.waiting, 'message')} cannot be delivered by {each.name}"
        some = Some(count=1, since_s=each.since_s)
        yield _of(
            each.name,
            _alert(Kind.CHANNEL_FAILS, Severity.WARNING, some, sentence, now_s, last_failure=each.problem),
        )


RULES: Mapping[Kind, Finder] = {
    Kind.RENEWAL_LATE: _late,
    Kind.ORDER_STUCK: _stuck,
    Kind.BOX_AWAY: _away,
    Kind.NOT_SERVED: _not_served,
    Kind.BUDGET_SHORT: _budget,
    Kind.ISSUER_DOWN: _down,
    Kind.ISSUER_ACCOUNT: _account,
    Kind.CLONE_SEEN: _clones,
    Kind.RNG_REPEATS: _repeats,
    Kind.DISK_NEARLY_FULL: _disk,
    Kind.HQ_CERTIFICATE: _own,
    Kind.HQ_NO_WORKER: _worker,
    Kind.REVOCATION_STUCK: _revocations,
    Kind.INCIDENT_RUNNING: _incidents,
    Kind.CHANNEL_FAILS: _channels,
}
