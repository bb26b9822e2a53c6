"""Counts over the store say what is in it."""

from __future__ import annotations

from typing import Any

from hq.tests.store.rows import admission_request, certificate, device, fill, order

from otscert.domain.admission import Answer
from otscert.domain.device import Device, DeviceState
from otscert.domain.order import Order, OrderState
from otscert.domain.renewal import Window
from otscert.store.certificates import Certificate
from otscert.store.sqlite import SqliteStore
from otscert.store.statistics import DueGroup, Waiting
from otscert.store.transaction import Transaction

DAY_S = 24 * 3600
NOW_S = 1000 * DAY_S


async def test_devices_are_counted_by_what_they_are(store: SqliteStore) -> None:
    rows = [
        device(1),
        device(2),
        device(3, model="other", last_seen_s=50),
        device(4, state=DeviceState.FROZEN, in_dns=False),
        device(5, unserved=2),
        device(6, unserved=2, state=DeviceState.QUARANTINED),
    ]
    await store.write(lambda transaction: fill(transaction, *rows))
    statistics = await store.read(lambda transaction: transaction.statistics)
    found = {(group.state, group.model, group.in_dns): group.count for group in statistics.devices()}
    assert found == {
        ("active", "box", True): 3,
        ("active", "other", True): 1,
        ("frozen", "box", False): 1,
        ("quarantined", "box", True): 1,
    }
    assert statistics.silent(seen_before_s=100) == 1
    assert statistics.unserved() == 1


async def test_only_the_newest_certificate_of_an_identity_is_due_late_or_lapsed(store: SqliteStore) -> None:
    life_s = 45 * DAY_S

    def of(number: int, box: int, *, left_days: int, replaced: bool = False) -> Certificate:
        ends_s = NOW_S + left_days * DAY_S
        return certificate(
            number,
            device_id=f"d{box}",
            not_before_s=ends_s - life_s,
            issued_at_s=ends_s - life_s,
            not_after_s=ends_s,
            replaced=replaced,
        )

    boxes = [device(number, last_seen_s=NOW_S) for number in range(1, 8)]
    boxes[4] = device(5, last_seen_s=NOW_S - 2 * DAY_S)
    boxes[5] = device(6, last_seen_s=NOW_S, state=DeviceState.FROZEN)
    held = [
        of(1, 1, left_days=40),
        of(2, 1, left_days=5),  # an older one that comes late does not take the newer one's place
        of(3, 2, left_days=14),
        of(4, 3, left_days=7),
        of(5, 4, left_days=-1),
        of(6, 5, left_days=-1),
        of(7, 6, left_days=-1),
        of(8, 7, left_days=3, replaced=True),
    ]
    rows: list[Device | Order | Certificate] = [
        *boxes,
        *(order(number, device_id=f"d{(1, 1, 2, 3, 4, 5, 6, 7)[number - 1]}") for number in range(1, 9)),
    ]
    await store.write(lambda transaction: fill(transaction, *rows, *held))
    statistics = await store.read(lambda transaction: transaction.statistics)

    def group(standing: str, *, calling: bool, due_days_ago: int) -> DueGroup:
        return DueGroup(calling=calling, standing=standing, count=1, since_s=NOW_S - due_days_ago * DAY_S)

    due = statistics.due(now_s=NOW_S, calling_since_s=NOW_S - DAY_S)
    assert sorted(due, key=lambda each: (each.standing, each.calling)) == [
        group("due", calling=True, due_days_ago=1),
        group("lapsed", calling=False, due_days_ago=16),
        group("lapsed", calling=True, due_days_ago=16),
        group("late", calling=True, due_days_ago=8),
    ]
    assert [statistics.ending(now_s=NOW_S, within_s=days * DAY_S) for days in (3, 7, 14, 60)] == [0, 1, 2, 3]
    assert statistics.certificates(now_s=NOW_S) == {False: 4, True: 1}

    await store.write(lambda transaction: transaction.certificates.replace_all("d3"))
    assert "late" not in {each.standing for each in statistics.due(now_s=NOW_S, calling_since_s=0)}


async def test_the_window_of_the_ca_decides_when_the_newest_certificate_is_due(store: SqliteStore) -> None:
    life_s = 45 * DAY_S
    dates = {"not_before_s": NOW_S, "issued_at_s": NOW_S, "not_after_s": NOW_S + life_s}
    rows: list[Device | Order | Certificate] = [device(1, last_seen_s=NOW_S), order(1), order(2)]
    old = certificate(2, not_before_s=NOW_S - DAY_S, issued_at_s=NOW_S - DAY_S, not_after_s=NOW_S - DAY_S + life_s)
    await store.write(lambda transaction: fill(transaction, *rows, certificate(1, **dates), old))

    async def due_since_s(window: Window, number: int = 1) -> int:
        def write(transaction: Transaction) -> None:
            transaction.certificates.ari_told(f"{number:064x}", window, explanation=None, next_poll_s=1)

        await store.write(write)
        look_s = NOW_S + 44 * DAY_S
        (group,) = await store.read(lambda t: t.statistics.due(now_s=look_s, calling_since_s=0))
        assert group.standing == "late"
        return group.since_s

    day = [NOW_S + number * DAY_S for number in range(45)]
    later = Window(start_s=day[31], end_s=day[33], told_s=NOW_S, at_s=day[32])
    assert await due_since_s(later) == day[32]
    assert await due_since_s(Window(start_s=day[2], end_s=day[4], told_s=day[5], at_s=day[3])) == day[5]
    assert await due_since_s(later, number=2) == day[5]


async def test_what_waits_is_counted_with_the_age_of_the_first(store: SqliteStore) -> None:
    states = (OrderState.WAITING, OrderState.WAITING, OrderState.FINALIZING, OrderState.ISSUED, OrderState.FAILED)
    orders = [order(number, state=state) for number, state in enumerate(states, start=1)]
    await store.write(lambda transaction: fill(transaction, device(1), *orders, certificate(1, order_id="o4")))

    def ask(transaction: object) -> None:
        t: Any = transaction
        t.requests.put(admission_request(1, approval=Answer.WAITING, asked_at_s=7))
        t.requests.put(admission_request(2, approval=Answer.YES, asked_at_s=5, webhook=Answer.WAITING))
        t.revocations.ask(f"{1:064x}", reason=5, now_s=9)
        t.events.append("order.issued", now_s=3, data={"issuer": "a"})
        t.events.append("order.issued", now_s=4, data={"issuer": "b"})
        t.events.append("order.issued", now_s=5, data={"issuer": "a"})

    await store.write(ask)
    statistics = await store.read(lambda transaction: transaction.statistics)
    assert statistics.orders() == {
        "waiting": Waiting(count=2, since_s=101),
        "finalizing": Waiting(count=1, since_s=103),
    }
    assert statistics.asked_persons() == Waiting(count=1, since_s=7)
    assert statistics.asked_webhooks() == 1
    assert statistics.revocations() == Waiting(count=1, since_s=9)
    assert statistics.last_issued() == {"a": 5, "b": 4}
    last = statistics.last_event()
    assert statistics.events(after_id=last - 2, until_id=last) == {"order.issued": 2}

    await store.write(lambda transaction: transaction.revocations.done(f"{1:064x}", now_s=10))
    assert statistics.revocations() == Waiting(count=0, since_s=None)
