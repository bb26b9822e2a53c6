"""Alerts, messages and the counts of trouble, on both databases."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hq.tests.store.conftest import Store
from hq.tests.store.rows import certificate, device, fill, order

from otscert.domain.alert_facts import Some
from otscert.domain.alert_news import Known
from otscert.domain.alerts import DAY_S, Alert, Kind, Severity
from otscert.domain.budget import Rank
from otscert.domain.device import DeviceState
from otscert.domain.order import OrderState
from otscert.store.outbox import Posted

NOW_S = 100 * DAY_S
ALERT = Alert(
    kind=Kind.BUDGET_SHORT,
    subject="ca",
    severity=Severity.WARNING,
    since_s=1,
    count=4,
    what="short",
    examples=("a", "b"),
    details={"the CA says": "later"},
)


async def test_an_alert_is_read_as_it_was_written_and_changed(store: Store) -> None:
    first = Known(alert=ALERT, found_s=2, seen_s=3)
    later = replace(
        first,
        alert=replace(ALERT, severity=Severity.CRITICAL, count=5),
        told_s=4,
        told_count=5,
        well_s=6,
        over_s=7,
        times=8,
    )
    await store.write(lambda t: t.alerts.put(first))
    assert await store.read(lambda t: t.alerts.all()) == [first]
    await store.write(lambda t: t.alerts.put(later))
    assert await store.read(lambda t: t.alerts.all()) == [later]
    await store.write(lambda t: t.alerts.forget(ALERT.kind, ALERT.subject))
    assert await store.read(lambda t: t.alerts.all()) == []


async def test_a_kind_of_a_later_release_is_left_alone(store: Store) -> None:
    unknown = Known(alert=replace(ALERT, kind="moon.full"), found_s=2, seen_s=3)
    await store.write(lambda t: t.alerts.put(unknown))
    assert await store.read(lambda t: t.alerts.all()) == []


async def test_what_was_done_is_set_by_one_of_two(store: Store) -> None:
    assert await store.write(lambda t: t.alerts.set_done("looked", seen_s=None, at_s=5))
    assert not await store.write(lambda t: t.alerts.set_done("looked", seen_s=None, at_s=5))
    assert await store.write(lambda t: t.alerts.set_done("looked", seen_s=5, at_s=6))
    assert not await store.write(lambda t: t.alerts.set_done("looked", seen_s=5, at_s=7))
    assert await store.read(lambda t: t.alerts.done_s("looked")) == 6


def posted(name: str, **changes: Any) -> Posted:
    members = {"channel": "mail", "message": "{}", "created_s": 10, "until_s": 1000, "next_at_s": 10, **changes}
    return Posted(id=name, **members)


async def test_a_message_is_claimed_once_and_free_again_when_the_claim_has_run_out(store: Store) -> None:
    message = posted("m1")
    await store.write(lambda t: t.outbox.add(message))
    assert await store.read(lambda t: t.outbox.due("mail", now_s=9, limit=5)) == []
    assert await store.write(lambda t: t.outbox.claim(message, until_s=200))
    assert not await store.write(lambda t: t.outbox.claim(message, until_s=200))
    assert await store.read(lambda t: t.outbox.due("mail", now_s=199, limit=5)) == []
    (again,) = await store.read(lambda t: t.outbox.due("mail", now_s=200, limit=5))
    assert (again.id, again.attempt) == ("m1", 1)


async def test_what_is_sent_given_up_or_waiting_is_told_apart_by_channel(store: Store) -> None:
    async def enter() -> None:
        for message in (posted("m1"), posted("m2"), posted("m3"), posted("w1", channel="webhook", until_s=20)):
            await store.write(lambda t, message=message: t.outbox.add(message))  # type: ignore[misc]

    await enter()
    await store.write(lambda t: t.outbox.failed("m1", problem="down", next_at_s=40))
    await store.write(lambda t: t.outbox.sent("m2", now_s=50))
    await store.write(lambda t: t.outbox.give_up("m3", problem="refused", now_s=60))
    waiting = await store.read(lambda t: t.outbox.waiting())
    assert [(each.id, each.problem) for each in waiting] == [("m1", "down"), ("w1", "")]
    assert await store.read(lambda t: t.outbox.last_sent_s("mail")) == 50
    assert await store.read(lambda t: t.outbox.last_sent_s("webhook")) is None
    assert [each.id for each in await store.read(lambda t: t.outbox.given_up("mail", after_s=50))] == ["m3"]
    assert [each.id for each in await store.read(lambda t: t.outbox.overdue(now_s=20, limit=9))] == ["w1"]
    assert await store.write(lambda t: t.outbox.sweep(before_s=60)) == 1
    assert await store.write(lambda t: t.outbox.sweep(before_s=61)) == 1


def box(number: int, *, not_after_s: int, last_seen_s: int = NOW_S - 60, **changes: Any) -> list[Any]:
    """A box with an order that has ended, and with a certificate of 90 days."""
    issued_at_s = not_after_s - 90 * DAY_S
    made = order(number, device_id=f"d{number}", state=OrderState.ISSUED, created_at_s=issued_at_s)
    return [
        device(number, last_seen_s=last_seen_s, **changes),
        made,
        certificate(
            number,
            device_id=f"d{number}",
            order_id=made.id,
            not_before_s=issued_at_s,
            not_after_s=not_after_s,
            issued_at_s=issued_at_s,
        ),
    ]


async def test_late_and_lapsed_boxes_are_those_that_call_and_are_not_just_ordering(store: Store) -> None:
    late_s, lapsed_s, fine_s = NOW_S + 10 * DAY_S, NOW_S - DAY_S, NOW_S + 60 * DAY_S
    rows = [
        *box(1, not_after_s=late_s),
        *box(2, not_after_s=late_s),
        order(20, device_id="d2", created_at_s=NOW_S - 60),
        *box(3, not_after_s=late_s),
        order(30, device_id="d3", created_at_s=NOW_S - DAY_S),
        *box(4, not_after_s=lapsed_s),
        *box(5, not_after_s=fine_s),
        *box(6, not_after_s=late_s, last_seen_s=NOW_S - 5 * DAY_S),
        *box(7, not_after_s=lapsed_s, last_seen_s=NOW_S - 5 * DAY_S),
        *box(8, not_after_s=late_s, state=DeviceState.QUARANTINED),
        *box(9, not_after_s=late_s, unserved=2),
    ]
    await store.write(lambda t: fill(t, *rows))
    asked = {"now_s": NOW_S, "calling_since_s": NOW_S - DAY_S, "ordered_before_s": NOW_S - 900}
    late = await store.survey(lambda t: t.trouble.late(**asked))
    assert (late.count, late.examples) == (2, ("label1", "label3"))
    assert late.since_s == late_s - 15 * DAY_S
    lapsed = await store.survey(lambda t: t.trouble.lapsed(**asked))
    assert lapsed == Some(count=1, since_s=lapsed_s, examples=("label4",))
    away = await store.survey(lambda t: t.trouble.away(now_s=NOW_S, calling_since_s=NOW_S - DAY_S))
    assert (away.count, away.examples) == (1, ("label6",))


async def test_boxes_that_do_not_serve_their_newest_are_counted_when_they_called_long_after_it(store: Store) -> None:
    rows = [
        *box(1, not_after_s=NOW_S + 85 * DAY_S, unserved=1),
        *box(2, not_after_s=NOW_S + 85 * DAY_S, unserved=1, last_seen_s=NOW_S - 5 * DAY_S),
        *box(3, not_after_s=NOW_S + 90 * DAY_S - 60, unserved=1),
        *box(4, not_after_s=NOW_S + 85 * DAY_S, unserved=2),
        *box(5, not_after_s=NOW_S + 85 * DAY_S, state=DeviceState.FROZEN),
    ]
    await store.write(lambda t: fill(t, *rows))
    other = await store.survey(lambda t: t.trouble.not_served(issued_before_s=NOW_S - DAY_S, called_after_s=43_200))
    assert other == Some(count=1, since_s=NOW_S - 5 * DAY_S, examples=("label1",))
    assert await store.survey(lambda t: t.trouble.held_back()) == Some(count=1, examples=("label4",))
    assert await store.survey(lambda t: t.trouble.frozen()) == Some(count=1, examples=("label5",))


async def test_orders_are_stuck_on_nobodys_desk_or_for_days_but_not_while_they_wait_for_a_limit(store: Store) -> None:
    rows: list[Any] = [
        device(1),
        device(2, state=DeviceState.QUARANTINED),
        order(1, created_at_s=NOW_S - 3 * DAY_S, next_at_s=NOW_S - 3600),
        order(2, created_at_s=NOW_S - 100, next_at_s=NOW_S - 50),
        order(3, created_at_s=NOW_S - 3 * DAY_S, next_at_s=NOW_S + 50),
        order(4, created_at_s=NOW_S - 3 * DAY_S, next_at_s=NOW_S - 3600, waits_for="ca orders-per-account"),
        order(
            5, created_at_s=NOW_S - 100, next_at_s=NOW_S - 3600, waits_for="ca orders-per-account", rank=Rank.EXPIRING
        ),
        order(6, device_id="d2", created_at_s=NOW_S - 3 * DAY_S, next_at_s=NOW_S + 50),
        order(7, created_at_s=NOW_S - 100, next_at_s=NOW_S - 3600, lease_by="p1", lease_until_s=NOW_S + 60),
    ]
    await store.write(lambda t: fill(t, *rows))
    due = await store.survey(lambda t: t.trouble.unattended(due_before_s=NOW_S - 60, now_s=NOW_S))
    assert due == Some(count=1, since_s=NOW_S - 3600, examples=("o1",))
    old = await store.survey(lambda t: t.trouble.old_orders(made_before_s=NOW_S - DAY_S))
    assert (old.count, old.examples) == (2, ("o1", "o3"))
    (waiters,) = await store.survey(lambda t: t.trouble.waiters())
    assert (waiters.bucket, waiters.count, waiters.urgent) == ("ca orders-per-account", 2, 1)
    assert waiters.since_s == NOW_S - 3 * DAY_S


async def test_events_of_the_last_day_are_counted_by_kind(store: Store) -> None:
    async def happen(at_s: int, kind: str, device_id: str | None) -> None:
        await store.write(lambda t: t.events.append(kind, now_s=at_s, device_id=device_id))

    await happen(NOW_S - 2 * DAY_S, "unit.cloned", "old")
    assert await store.survey(lambda t: t.trouble.first_event_since(NOW_S - DAY_S)) is None
    await happen(NOW_S - 60, "device.moved", "d1")
    await happen(NOW_S - 50, "unit.cloned", "d2")
    await happen(NOW_S - 40, "unit.cloned", "d2")
    first = await store.survey(lambda t: t.trouble.first_event_since(NOW_S - DAY_S))
    assert first is not None
    assert await store.survey(lambda t: t.trouble.count_events("unit.cloned", from_id=first)) == 2
    assert await store.survey(lambda t: t.trouble.boxes_of_events("unit.cloned", from_id=first)) == ("d2",)
