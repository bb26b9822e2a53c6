"""The CAs' limits in the store: exact whoever spends, all or nothing, and a queue that costs what it has room for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from hq.tests.store.conftest import Store
from hq.tests.store.rows import certificate, device, fill, order

from otscert.acme.fault import Fault, Remedy
from otscert.domain.budget import Bucket, Level, Rank
from otscert.domain.limits import LETS_ENCRYPT, LimitKind, Limits
from otscert.domain.order import Order, OrderEvent, OrderState
from otscert.domain.quota import Quota
from otscert.service.budget import (
    Refused,
    count_failure,
    give_back,
    park_named,
    spend_anyway,
    spend_or_wait,
    waiting_with_room,
    would_wait_s,
)
from otscert.service.context import Hq
from otscert.store.connection import Cursor
from otscert.store.transaction import Transaction

PLENTY = Quota(count=1000, period_s=1)
ACCOUNT = Bucket(issuer="ca", kind=LimitKind.ORDERS_PER_ACCOUNT, subject="")
DOMAIN = Bucket(issuer="ca", kind=LimitKind.CERTIFICATES_PER_DOMAIN, subject="example.com")
TEN = Limits(
    name="ten",
    by_kind={LimitKind.ORDERS_PER_ACCOUNT: Quota(count=10, period_s=10_800)},
    per_second={},
    renewals_exempt=True,
    same_names_exempt=True,
)
SPENDABLE, INTERVAL_S = 9, 1080


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000_000

    def now_ms(self) -> int:
        return self.now


def make_hq(limits: Limits = TEN, clock: Clock | None = None, **changes: Any) -> Hq:
    members: dict[str, Any] = {
        "public_url": "https://hq.example.net",
        "zone": "boxes.example.com",
        "models": {},
        "tokens": {},
        "issuers": ("ca",),
        "checkin_s": 1,
        "hellos_per_address": PLENTY,
        "hellos_per_model": PLENTY,
        "orders_per_device": PLENTY,
        "open_admissions": PLENTY,
        "stale_s": 1,
        "secret": b"",
        "clock": clock or Clock(),
        "randomness": bytes,
        "limits": {"ca": limits},
    }
    return Hq(**(members | changes))


def box_order(number: int, rank: Rank = Rank.FIRST_BOOT, **changes: Any) -> Order:
    names = (f"box{number}.boxes.example.com", f"*.box{number}.boxes.example.com")
    return order(number, names=names, rank=rank, id=f"o{number:05}", **changes)


def claim(hq: Hq, transaction: Transaction, order_id: str, replaces: str | None = None) -> Refused | None:
    """As issuance does it: spend, then move; or wait."""
    seen = transaction.orders.get(order_id)
    assert seen is not None
    refused = spend_or_wait(hq, transaction, seen, replaces=replaces)
    if refused is None:
        transaction.orders.advance(seen, OrderEvent.CLAIM, waits_for=None, replaces=replaces)
    return refused


def _claim_number(transaction: Transaction, *, hq: Hq, number: int) -> Refused | None:
    return claim(hq, transaction, f"o{number:05}")


def enter(transaction: Transaction, orders: Iterable[Order]) -> None:
    fill(transaction, device(), *orders)


async def test_many_who_spend_at_once_get_what_the_bucket_holds_and_no_more(open_store: Callable[[], Store]) -> None:
    hq, stores = make_hq(), [open_store(), open_store()]
    await stores[0].write(lambda transaction: enter(transaction, [box_order(number) for number in range(40)]))

    refusals = await asyncio.gather(
        *(stores[number % 2].write(partial(_claim_number, hq=hq, number=number)) for number in range(40))
    )

    assert sum(refused is None for refused in refusals) == SPENDABLE
    levels = await stores[0].read(lambda transaction: transaction.buckets.of_issuer("ca"))
    assert levels == {ACCOUNT: Level(tat_ms=hq.clock.now_ms() + SPENDABLE * INTERVAL_S * 1000)}
    counts = await stores[1].read(lambda transaction: transaction.queue.counts())
    assert counts == {(ACCOUNT.name, Rank.FIRST_BOOT): 40 - SPENDABLE}
    for store in stores:
        await store.close()


async def test_who_waits_goes_by_rank_and_age_as_far_as_there_is_room(store: Store) -> None:
    clock = Clock()
    hq = make_hq(clock=clock)
    ranks = [Rank.ROUTINE, Rank.STRANGER, Rank.FIRST_BOOT, Rank.INCIDENT, Rank.EXPIRING] * 6

    def work(transaction: Transaction) -> list[list[Order]]:
        enter(transaction, [box_order(number, rank) for number, rank in enumerate(ranks)])
        for number in range(len(ranks)):
            claim(hq, transaction, f"o{number:05}")
        looks = []
        for _ in range(len(ranks) - SPENDABLE):
            clock.now += INTERVAL_S * 1000
            turn = waiting_with_room(hq, transaction, limit=100)
            assert all(claim(hq, transaction, each.id) is None for each in turn)
            looks.append(turn)
        assert transaction.queue.counts() == {}
        return looks

    looks = await store.write(work)
    assert [len(look) for look in looks] == [1] * len(looks)
    went = [(look[0].rank, look[0].created_at_s) for look in looks]
    assert went == sorted(went)


async def test_a_newcomer_does_not_overtake_its_like_but_those_of_lower_rank(store: Store) -> None:
    clock = Clock()
    hq = make_hq(clock=clock)

    def work(transaction: Transaction) -> None:
        enter(transaction, [box_order(number, Rank.STRANGER) for number in range(12)])
        for number in range(12):
            claim(hq, transaction, f"o{number:05}")
        clock.now += 2 * INTERVAL_S * 1000
        fill(transaction, box_order(20, Rank.STRANGER), box_order(21), box_order(22, Rank.ROUTINE))
        assert would_wait_s(hq, transaction, box_order(20, Rank.STRANGER), issuer="ca") > 0
        stranger = claim(hq, transaction, "o00020")
        assert stranger is not None
        assert stranger.bucket == ACCOUNT
        assert "before this one" in stranger.reason
        assert claim(hq, transaction, "o00021") is None
        assert claim(hq, transaction, "o00022") is not None

    await store.write(work)


async def test_the_reserve_is_for_those_who_wait_with_a_high_rank(store: Store) -> None:
    hq = make_hq(LETS_ENCRYPT)

    def work(transaction: Transaction) -> list[Rank]:
        ranks = [Rank.STRANGER] * 50 + [Rank.FIRST_BOOT] * 5 + [Rank.ROUTINE] * 50
        orders = (box_order(number, rank, waits_for=ACCOUNT.name) for number, rank in enumerate(ranks))
        enter(transaction, orders)
        transaction.buckets.keep({ACCOUNT: hq.clock.now_ms() + (299 - 37) * 36_000})  # 37 left, 29 of them reserved
        return [order.rank for order in waiting_with_room(hq, transaction, limit=100)]

    assert await store.write(work) == [Rank.FIRST_BOOT] * 5 + [Rank.STRANGER] * 3


async def test_the_turn_that_is_foretold_is_the_turn_that_comes(store: Store) -> None:
    clock = Clock()
    hq = make_hq(clock=clock)

    def work(transaction: Transaction) -> None:
        enter(transaction, [box_order(number) for number in range(SPENDABLE + 20)])
        refused = [claim(hq, transaction, f"o{number:05}") for number in range(SPENDABLE + 20)]
        foretold = [each.turn_s for each in refused if each is not None]
        start_s = clock.now // 1000
        assert foretold == [start_s + INTERVAL_S * (place + 1) for place in range(20)]
        last = refused[-1]
        assert last is not None
        assert "10 new orders in 3 hours; about 19 boxes go before this one, its turn is at about" in last.reason
        for place, turn_s in enumerate(foretold):
            clock.now = turn_s * 1000
            turn = waiting_with_room(hq, transaction, limit=100)
            assert [each.id for each in turn] == [f"o{SPENDABLE + place:05}"]
            assert claim(hq, transaction, turn[0].id) is None

    await store.write(work)


class Counting:
    """A connection that counts statements and the rows that they gave."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self.IntegrityError = connection.IntegrityError
        self.statements = self.rows = 0

    def execute(self, sql: str, values: Sequence[Any] = (), /) -> Cursor:
        self.statements += 1
        rows = self._connection.execute(sql, values)
        if not sql.startswith("SELECT"):
            return rows  # type: ignore[no-any-return]
        return _Rows(self, rows)

    def executemany(self, sql: str, rows: Iterable[Sequence[Any]], /) -> Any:
        return self._connection.executemany(sql, rows)


class _Rows:
    def __init__(self, counting: Counting, rows: Any) -> None:
        self._counting, self._rows = counting, rows
        self.rowcount = rows.rowcount

    def fetchone(self) -> Any:
        row = self._rows.fetchone()
        self._counting.rows += row is not None
        return row

    def fetchall(self) -> list[Any]:
        rows = list(self._rows.fetchall())
        self._counting.rows += len(rows)
        return rows

    def __iter__(self) -> Any:
        return iter(self.fetchall())


async def test_ten_thousand_that_wait_cost_a_look_no_more_than_there_is_room(store: Store) -> None:
    clock = Clock()
    hq = make_hq(clock=clock)

    def work(transaction: Transaction) -> tuple[int, int, int, int]:
        waiting = (box_order(number, waits_for=ACCOUNT.name) for number in range(10_000))
        enter(transaction, waiting)
        transaction.buckets.keep({ACCOUNT: clock.now + SPENDABLE * INTERVAL_S * 1000})
        counting = Counting(transaction._connection)
        counted = Transaction(counting)
        none = waiting_with_room(hq, counted, limit=100)
        idle = (counting.statements, counting.rows)
        clock.now += 3 * INTERVAL_S * 1000
        three = waiting_with_room(hq, counted, limit=100)
        return len(none), idle[1], len(three), counting.rows - idle[1]

    assert await store.write(work) == (0, 2, 3, 5)


async def test_names_that_only_one_box_has_postpone_it_and_queue_nobody(store: Store) -> None:
    hq = make_hq(LETS_ENCRYPT)
    full = Level(tat_ms=hq.clock.now_ms() + 4 * 151_200_000)
    names = Bucket(
        issuer="ca",
        kind=LimitKind.CERTIFICATES_PER_NAMES,
        subject="*.box1.boxes.example.com,box1.boxes.example.com",
    )

    def work(transaction: Transaction) -> Order | None:
        enter(transaction, [box_order(1)])
        transaction.buckets.park(names, full)
        refused = claim(hq, transaction, "o00001")
        assert refused is not None
        assert not refused.queued
        assert set(transaction.buckets.of_issuer("ca")) == {names}
        return transaction.orders.get("o00001")

    waiting = await store.write(work)
    assert waiting is not None
    assert waiting.waits_for is None
    assert waiting.state is OrderState.WAITING
    assert waiting.attempt == 0
    assert waiting.next_at_s == hq.now_s() + 151_200
    assert "for the same names" in waiting.reason


async def test_below_a_public_suffix_a_full_domain_is_the_boxs_own(store: Store) -> None:
    hq = make_hq(LETS_ENCRYPT, public_suffix=True)

    def work(transaction: Transaction) -> None:
        enter(transaction, [box_order(number) for number in range(60)])
        assert [claim(hq, transaction, f"o{number:05}") for number in range(60)] == [None] * 60

    await store.write(work)


async def test_without_an_entry_in_the_list_fifty_boxes_a_week_get_in(store: Store) -> None:
    hq = make_hq(LETS_ENCRYPT)

    def work(transaction: Transaction) -> list[Refused]:
        enter(transaction, [box_order(number) for number in range(60)])
        refused = [claim(hq, transaction, f"o{number:05}") for number in range(60)]
        return [each for each in refused if each is not None]

    refused = await store.write(work)
    assert len(refused) == 11
    assert {each.bucket for each in refused} == {DOMAIN}


NEWEST = certificate(1, order_id="o00001", not_after_s=1_800_000_000 + 86_400)


@pytest.mark.parametrize(
    ("window_s", "replaces", "cost"),
    [
        ((-3600, 3600), "ari", 0),  # inside the window
        ((-3600, 3600), None, 0),
        ((-7200, -3600), "ari", 0),  # over: still the same names
        (None, None, 0),
    ],
)
async def test_a_renewal_takes_nothing_that_boxes_share(
    store: Store, window_s: tuple[int, int] | None, replaces: str | None, cost: int
) -> None:
    clock = Clock()
    hq = make_hq(LETS_ENCRYPT, clock=clock)
    now_s = clock.now // 1000
    window: dict[str, Any] = (
        {} if window_s is None else {"ari_start_s": now_s + window_s[0], "ari_end_s": now_s + window_s[1]}
    )

    def work(transaction: Transaction) -> dict[Bucket, Level]:
        done = box_order(1, state=OrderState.ISSUED)
        enter(transaction, [done, replace(done, id="o00002", txid="t2", state=OrderState.WAITING)])
        fill(transaction, replace(NEWEST, **window))
        assert claim(hq, transaction, "o00002", replaces) is None
        return transaction.buckets.of_issuer("ca")

    levels = await store.write(work)
    shared = [bucket for bucket in levels if bucket.shared]
    exempt = window_s == (-3600, 3600) and replaces is not None
    assert len(shared) == cost
    assert len(levels) == (0 if exempt else 1)


async def test_a_replacement_that_the_ca_did_not_take_is_counted_after_all(store: Store) -> None:
    hq = make_hq(LETS_ENCRYPT)

    def work(transaction: Transaction) -> set[LimitKind]:
        enter(transaction, [box_order(1)])
        spend_anyway(hq, transaction, box_order(1))
        return {bucket.kind for bucket in transaction.buckets.of_issuer("ca")}

    assert await store.write(work) == set(LimitKind) - {LimitKind.FAILURES_PER_NAME}


async def test_a_certificate_that_did_not_come_is_given_back_but_not_its_order(store: Store) -> None:
    hq = make_hq(LETS_ENCRYPT)
    now_ms = hq.clock.now_ms()

    def work(transaction: Transaction) -> dict[Bucket, Level]:
        enter(transaction, [box_order(1)])
        claim(hq, transaction, "o00001")
        claimed = transaction.orders.get("o00001")
        assert claimed is not None
        give_back(hq, transaction, claimed)
        return transaction.buckets.of_issuer("ca")

    levels = await store.write(work)
    assert {bucket.kind: level.tat_ms for bucket, level in levels.items()} == {
        LimitKind.ORDERS_PER_ACCOUNT: now_ms + 36_000,
        LimitKind.CERTIFICATES_PER_DOMAIN: now_ms,
        LimitKind.CERTIFICATES_PER_NAMES: now_ms,
    }


async def test_failed_validations_stop_an_order_before_the_ca_does(store: Store) -> None:
    clock = Clock()
    hq = make_hq(LETS_ENCRYPT, clock=clock)

    def work(transaction: Transaction) -> list[int]:
        enter(transaction, [box_order(1)])
        waits = []
        for _ in range(6):  # each fails name and wildcard, so the CA counts up to two
            waits.append(would_wait_s(hq, transaction, box_order(1), issuer="ca"))
            clock.now += waits[-1] * 1000
            count_failure(hq, transaction, box_order(1))
        return waits

    assert await store.write(work) == [0, 0, 2400, 2400, 2400, 2400]  # so four failures at once, three in an hour


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("too many new orders (300) from this account in the last 3h0m0s", LimitKind.ORDERS_PER_ACCOUNT),
        (
            'too many certificates (50) already issued for "example.com" in the last 168h0m0s',
            LimitKind.CERTIFICATES_PER_DOMAIN,
        ),
        (
            "too many certificates (5) already issued for this exact set of identifiers in the last 168h0m0s",
            LimitKind.CERTIFICATES_PER_NAMES,
        ),
        ('too many failed authorizations (5) for "box1.example.com" in the last 1h0m0s', LimitKind.FAILURES_PER_NAME),
        ("HTTP 429 without a problem document", LimitKind.ORDERS_PER_ACCOUNT),
        ("computer says no", LimitKind.ORDERS_PER_ACCOUNT),
    ],
)
async def test_a_429_parks_the_bucket_that_it_names_until_its_moment(store: Store, words: str, kind: LimitKind) -> None:
    clock = Clock()
    hq = make_hq(LETS_ENCRYPT, clock=clock)
    fault = Fault(remedy=Remedy.PARK, reason=words, retry_after_s=5000)

    def work(transaction: Transaction) -> tuple[Bucket, int, int, int]:
        enter(transaction, [box_order(1)])
        refused = park_named(hq, transaction, box_order(1), fault)
        mine = would_wait_s(hq, transaction, box_order(1), issuer="ca")
        others = would_wait_s(hq, transaction, replace(box_order(2), names=("x.boxes.example.com",)), issuer="ca")
        clock.now += 5001 * 1000
        return refused.bucket, mine, others, would_wait_s(hq, transaction, box_order(1), issuer="ca")

    bucket, mine, others, later = await store.write(work)
    assert bucket.kind is kind
    assert mine == 5001
    assert others == (5001 if bucket.shared else 0)
    assert later == 0


async def test_full_buckets_are_forgotten_and_parked_ones_are_not(store: Store) -> None:
    def work(transaction: Transaction) -> set[Bucket]:
        transaction.buckets.keep({ACCOUNT: 999_999})
        transaction.buckets.park(DOMAIN, Level(tat_ms=None, parked_until_s=2000, reason="x"))
        transaction.buckets.sweep(now_s=1000)
        return set(transaction.buckets.of_issuer("ca"))

    assert await store.write(work) == {DOMAIN}
