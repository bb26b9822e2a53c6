"""What the store holds, as metrics: from an `Overview` to families. Label values are states, models, policies of HQ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from prometheus_client.core import Metric

from otscert.api.metrics import of_budget
from otscert.api.metrics.families import counter, gauge
from otscert.api.metrics.of_alerts import told
from otscert.api.metrics.overview import Overview
from otscert.domain.order import TERMINAL, OrderState
from otscert.store.statistics import DeviceGroup, Waiting

WATCHED_EVENTS = (
    "alert.undelivered",
    "clone.frozen",
    "config.refused",
    "hq.leaf_ends",
    "key.duplicate",
    "key.shared_factor",
    "key.weak",
    "order.failed",
    "revocation.failed",
    "rng.repeats",
    "unit.cloned",
    "webhook.failed",
)
"""Events that alerts are made of: their series begin at nought, so that the first one is an increase."""
_STANDINGS = ("due", "late", "lapsed")
_BOXES = {True: "calling", False: "silent"}


def up(*, readable: bool) -> Metric:
    return gauge(
        "store_up", "1 when the store could be read for this scrape; else its metrics are left out.", {(): readable}
    )


def families(overview: Overview, events: Mapping[str, int], *, now_s: int) -> Iterator[Metric]:
    yield from _devices(overview)
    yield from _certificates(overview, now_s=now_s)
    yield from _orders(overview, now_s=now_s)
    yield gauge(
        "admissions_waiting",
        "Boxes that wait for a person's approval or for a webhook's answer.",
        {("person",): overview.persons.count, ("webhook",): overview.webhooks},
        "on",
    )
    yield gauge(
        "admissions_waiting_oldest_seconds",
        "How long the first of those that wait for a person has waited; 0 when nobody does.",
        {(): _age_s(overview.persons, now_s)},
    )
    yield gauge("revocations_waiting", "Certificates that the CA has yet to revoke.", {(): overview.revocations.count})
    yield gauge(
        "revocations_waiting_oldest_seconds",
        "How long the first of them has waited; 0 when none does.",
        {(): _age_s(overview.revocations, now_s)},
    )
    yield from told(overview.telling)
    yield from of_budget.told(overview.budget, now_s=now_s)
    kinds = dict.fromkeys(WATCHED_EVENTS, 0) | dict(events)
    yield counter(
        "events",
        "Events by kind (docs/events.md), since this HQ started.",
        {(kind,): count for kind, count in kinds.items()},
        "kind",
    )
    yield gauge("overview_age_seconds", "Age of what is said here of the store.", {(): max(0, now_s - overview.at_s)})
    yield gauge("overview_duration_seconds", "How long it took to count the store.", {(): overview.took_s})


def _devices(overview: Overview) -> Iterator[Metric]:
    groups: Counter[tuple[str, ...]] = Counter()
    for group in overview.devices:
        groups[group.state, group.model, group.policy, group.contribution] += group.count
    yield gauge(
        "devices",
        "Boxes ever admitted, by what they are now.",
        groups,
        "state",
        "model",
        "policy",
        "contribution",
    )
    yield gauge(
        "devices_away",
        "Boxes in service that did not call for stale_days: out of DNS, without orders, until they call.",
        _away(overview.devices),
        "model",
    )
    yield gauge(
        "devices_silent",
        "Boxes in DNS that did not call for so many days.",
        {(str(days),): count for days, count in overview.silent.items()},
        "days",
    )
    yield gauge(
        "devices_unserved",
        "Active boxes that get no more certificates because the last two were never seen served.",
        {(): overview.unserved},
    )


def _away(devices: Sequence[DeviceGroup]) -> Mapping[tuple[str, ...], int]:
    away: Counter[tuple[str, ...]] = Counter()
    for group in devices:
        away[group.model,] += group.count if not group.in_dns and group.state != "retired" else 0
    return away


def _certificates(overview: Overview, *, now_s: int) -> Iterator[Metric]:
    yield gauge(
        "certificates",
        "Certificates that have not ended; replaced: of an identity that is over.",
        {(state,): count for state, count in overview.certificates.items()},
        "state",
    )
    yield gauge(
        "certificates_ending",
        "Boxes whose newest certificate ends within so many days and has not ended yet.",
        {(str(days),): count for days, count in overview.ending.items()},
        "within_days",
    )
    due: dict[tuple[str, ...], int] = {(standing, word): 0 for standing in _STANDINGS for word in _BOXES.values()}
    yield gauge(
        "certificates_due",
        "Boxes in service and in DNS whose newest certificate is due, late (half of the time is gone) or has lapsed.",
        due | {(group.standing, _BOXES[group.calling]): group.count for group in overview.due},
        "standing",
        "box",
    )
    since_s = min((group.since_s for group in overview.due if group.calling), default=now_s)
    yield gauge(
        "renewal_overdue_seconds",
        "For how long the oldest renewal has been due of a box that calls; 0 when none is.",
        {(): max(0, now_s - since_s)},
    )


def _orders(overview: Overview, *, now_s: int) -> Iterator[Metric]:
    waiting = {
        state.value: overview.orders.get(state, Waiting(count=0, since_s=None))
        for state in OrderState
        if state not in TERMINAL
    }
    yield gauge(
        "orders",
        "Unfinished orders by state (ARCHITECTURE.md, the life of an order).",
        {(state,): each.count for state, each in waiting.items()},
        "state",
    )
    yield gauge(
        "orders_oldest_seconds",
        "Age of the oldest unfinished order in the state; 0 when there is none.",
        {(state,): _age_s(each, now_s) for state, each in waiting.items()},
        "state",
    )
    due_s = 0 if overview.due_since_s is None else max(0, now_s - overview.due_since_s)
    yield gauge(
        "orders_due_oldest_seconds",
        "For how long the first order of the queue has been due; it grows when the worker cannot follow or is parked.",
        {(): due_s},
    )


def _age_s(waiting: Waiting, now_s: int) -> int:
    return 0 if waiting.since_s is None else max(0, now_s - waiting.since_s)
