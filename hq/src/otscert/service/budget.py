"""The CAs' limits inside a transaction: what an order takes from them, what it waits for, what a CA's refusal parks.

The rules are `domain.budget`'s and `domain.parking`'s. Called where an order is claimed (spent is before anything is
asked of the CA), where its run ended early, and where the worker looks whose turn has come.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from otscert.acme.fault import Fault
from otscert.domain.budget import (
    Bucket,
    BudgetDecision,
    Charge,
    Exemption,
    Level,
    Rank,
    available,
    buckets_of,
    careful,
    decide,
    draws,
    guards,
    is_parked,
)
from otscert.domain.limits import LimitKind
from otscert.domain.order import Order, OrderState
from otscert.domain.parking import named_bucket, park
from otscert.domain.quota import Quota, spend
from otscert.domain.registered_domain import registered_domain
from otscert.service.context import Hq
from otscert.store.transaction import Transaction

_EDGE_S = 60
"""So near to the window's ends HQ's clock and the CA's may disagree: the order is counted."""
_REMEMBERED_S = 30 * 24 * 3600
"""A certificate that ended longer ago may be forgotten at the CA: the next one for the same names is counted."""
_FORETOLD_S = 10 * 365 * 24 * 3600
_PER_CERTIFICATE = frozenset({LimitKind.CERTIFICATES_PER_DOMAIN, LimitKind.CERTIFICATES_PER_NAMES})
_UNUSED = Level(tat_ms=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """An order has no room in a bucket: when its turn is expected (Unix seconds), and why, for box and operator."""

    bucket: Bucket
    queued: bool
    """It waits in the bucket's queue, with others; else the bucket is its own and only time counts."""
    turn_s: int
    reason: str


def charge_of(
    hq: Hq, transaction: Transaction, order: Order, *, issuer: str, replaces: str | None, now_s: int
) -> Charge:
    """What the order would ask of an issuer's budget now, as the replacement of `replaces` (RFC 9773) or of nothing."""
    return Charge(
        issuer=issuer,
        names=order.names,
        registered_domains=tuple(
            sorted({registered_domain(name, zone=hq.zone, public_suffix=hq.public_suffix) for name in order.names})
        ),
        rank=order.rank,
        exemption=_exemption(transaction, order, issuer=issuer, replaces=replaces, now_s=now_s),
    )


def would_wait_s(hq: Hq, transaction: Transaction, order: Order, *, issuer: str, replaces: str | None = None) -> int:
    """How long the order would wait for the issuer's limits, those before it included; 0: it could go now."""
    now_ms = hq.clock.now_ms()
    charge = charge_of(hq, transaction, order, issuer=issuer, replaces=replaces, now_s=now_ms // 1000)
    refused, _ = _look(hq, transaction, order, charge, now_ms=now_ms)
    return 0 if refused is None else max(1, refused.turn_s - now_ms // 1000)


def spend_or_wait(hq: Hq, transaction: Transaction, order: Order, *, replaces: str | None) -> Refused | None:
    """Take what a new order at `order.issuer` costs; or have it wait, and say for what.

    Call it in the transaction that claims the order, before it is moved; after a refusal it is put aside already.
    """
    now_ms = hq.clock.now_ms()
    charge = charge_of(hq, transaction, order, issuer=order.issuer, replaces=replaces, now_s=now_ms // 1000)
    refused, decision = _look(hq, transaction, order, charge, now_ms=now_ms)
    if refused is None:
        transaction.buckets.keep(decision.levels_after)
    elif refused.queued:
        transaction.queue.wait(order, bucket=refused.bucket.name, next_at_s=refused.turn_s, reason=refused.reason)
    else:
        transaction.orders.rest(order, next_at_s=refused.turn_s, reason=refused.reason)
    return refused


def spend_anyway(hq: Hq, transaction: Transaction, order: Order) -> None:
    """Count an order that was let through as a replacement and is placed without being one."""
    now_ms = hq.clock.now_ms()
    charge = charge_of(hq, transaction, order, issuer=order.issuer, replaces=None, now_s=now_ms // 1000)
    _add(transaction, [(bucket, quota, 1) for bucket, quota in draws(charge, hq.limits_of(order.issuer))], now_ms)


def count_failure(hq: Hq, transaction: Transaction, order: Order) -> None:
    """Count that the CA could not validate the order's names: each of them, as it may count name and wildcard apart."""
    now_ms = hq.clock.now_ms()
    charge = charge_of(hq, transaction, order, issuer=order.issuer, replaces=None, now_s=now_ms // 1000)
    costs = [
        (bucket, quota, sum(name.removeprefix("*.") == bucket.subject for name in order.names))
        for bucket, quota in guards(charge, hq.limits_of(order.issuer))
    ]
    _add(transaction, costs, now_ms)


def give_back(hq: Hq, transaction: Transaction, order: Order) -> None:
    """Return what the certificate would have cost that did not come of a claimed order: CAs count those they issued.

    Only for names that this issuer gave no certificate before: of a renewal it is not known any more what it took.
    """
    if order.state is OrderState.WAITING or transaction.buckets.former(order.device_id, order.issuer):
        return
    now_ms = hq.clock.now_ms()
    charge = charge_of(hq, transaction, order, issuer=order.issuer, replaces=None, now_s=now_ms // 1000)
    drawn = draws(charge, hq.limits_of(order.issuer))
    _add(transaction, [(bucket, quota, -1) for bucket, quota in drawn if bucket.kind in _PER_CERTIFICATE], now_ms)


def park_named(hq: Hq, transaction: Transaction, order: Order, fault: Fault) -> Refused:
    """Let nothing pass of the bucket that the CA's refusal names until its moment; returns what the order awaits."""
    now_s = hq.now_s()
    charge = charge_of(hq, transaction, order, issuer=order.issuer, replaces=None, now_s=now_s)
    bucket = named_bucket(fault.reason, charge)
    level = transaction.buckets.levels([bucket]).get(bucket, _UNUSED)
    quota = hq.limits_of(order.issuer).by_kind.get(bucket.kind)
    parked = park(bucket, level, quota, retry_after_s=fault.retry_after_s, now_s=now_s, reason=fault.reason)
    transaction.buckets.park(bucket, parked)
    return Refused(
        bucket=bucket,
        queued=_is_queued(bucket, charge),
        turn_s=parked.parked_until_s,
        reason=f"the CA has said: {fault.reason}; nothing of it is asked again before {moment(parked.parked_until_s)}",
    )


def waiting_with_room(
    hq: Hq, transaction: Transaction, *, limit: int, besides: frozenset[str] = frozenset()
) -> list[Order]:
    """Orders whose bucket has room for them by now, by rank and age; reads no more of them than there is room.

    `besides` are being worked on here; they keep their place in the bucket.
    """
    now_ms, found = hq.clock.now_ms(), list[Order]()
    for name in transaction.queue.buckets():
        if limit <= len(found):
            break
        most = limit - len(found)
        rooms = _rooms(hq, transaction, name, now_ms=now_ms, most=most + len(besides))
        if rooms[Rank.FIRST_BOOT] > 0:
            reads = min(rooms[Rank.FIRST_BOOT], most + len(besides))
            first = transaction.queue.first(name, limit=reads, now_s=now_ms // 1000, by=hq.process)
            turns = [order for place, order in enumerate(first) if place < rooms[order.rank]]
            found += [order for order in turns if order.id not in besides][:most]
    return found


def moment(at_s: int) -> str:
    """A moment as box and operator read it."""
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _look(
    hq: Hq, transaction: Transaction, order: Order, charge: Charge, *, now_ms: int
) -> tuple[Refused | None, BudgetDecision]:
    """Whether the order may go; it does not overtake one of its rank that waits for the same bucket."""
    limits, now_s = hq.limits_of(charge.issuer), now_ms // 1000
    levels = transaction.buckets.levels(buckets_of(charge, limits))
    decision = decide(charge, limits, levels, now_ms)
    drawn = dict(draws(charge, limits))
    if decision.waits_for is not None:
        bucket, why = decision.waits_for, decision.reason
    else:
        queues = (bucket for bucket in drawn if _is_queued(bucket, charge) and bucket.name != order.waits_for)
        overtaken = next((bucket for bucket in queues if _waits_before(transaction, bucket, order.rank)), None)
        if overtaken is None:
            return None, decision
        bucket, why = overtaken, "other boxes wait for the same limit of the CA"
    queued = _is_queued(bucket, charge)
    free_s = turn_s = now_s + decision.retry_after_s
    ahead = 0
    quota = drawn.get(bucket)
    if queued and bucket.name != order.waits_for:
        last_s = transaction.queue.last_turn_s(bucket.name, rank=order.rank)
        interval_ms = quota.interval_ms if quota is not None else 1000
        if last_s is not None:
            turn_s = max(free_s, last_s + -(-interval_ms // 1000))
            ahead = max(1, (turn_s - free_s) * 1000 // interval_ms)
    return Refused(bucket=bucket, queued=queued, turn_s=turn_s, reason=_tell(why, ahead, turn_s, now_s)), decision


def _tell(why: str, ahead: int, turn_s: int, now_s: int) -> str:
    when = f"at about {moment(turn_s)}" if turn_s - now_s < _FORETOLD_S else "in more than ten years"
    if not ahead:
        return f"{why}; its turn is {when}"
    boxes = "1 box goes" if ahead == 1 else f"about {ahead:,} boxes go"
    return f"{why}; {boxes} before this one, its turn is {when}"


def _is_queued(bucket: Bucket, charge: Charge) -> bool:
    """Whether boxes wait for it together; below a public suffix each box is a registered domain of its own."""
    return bucket.shared and bucket.subject not in charge.names


def _waits_before(transaction: Transaction, bucket: Bucket, rank: Rank) -> bool:
    best = transaction.queue.best_rank(bucket.name)
    return best is not None and best <= rank


def _rooms(hq: Hq, transaction: Transaction, name: str, *, now_ms: int, most: int) -> dict[Rank, int]:
    """How many of each rank the bucket lets go now; all that fit, where nothing is known of it any more."""
    try:
        bucket = Bucket.parse(name)
    except ValueError:
        return dict.fromkeys(Rank, most)
    level = transaction.buckets.levels([bucket]).get(bucket, _UNUSED)
    quota = hq.limits_of(bucket.issuer).by_kind.get(bucket.kind)
    if quota is None:
        return dict.fromkeys(Rank, 0 if is_parked(level, now_s=now_ms // 1000) else most)
    ours = careful(bucket.kind, quota)
    return {rank: available(ours, level, now_ms, rank) for rank in Rank}


def _add(transaction: Transaction, costs: list[tuple[Bucket, Quota, int]], now_ms: int) -> None:
    """Take from buckets whether it fits or not; a negative cost is given back."""
    levels = transaction.buckets.levels([bucket for bucket, _, _ in costs])
    after: dict[Bucket, int] = {}
    for bucket, quota, cost in costs:
        start_ms = spend(quota, tat_ms=levels.get(bucket, _UNUSED).tat_ms, now_ms=now_ms, cost=0).tat_ms
        after[bucket] = max(now_ms, start_ms + cost * quota.interval_ms)
    transaction.buckets.keep(after)


def _exemption(transaction: Transaction, order: Order, *, issuer: str, replaces: str | None, now_s: int) -> Exemption:
    former = transaction.buckets.former(order.device_id, issuer)
    if former is None:
        return Exemption.NONE
    if replaces is not None and former.window_s is not None:
        start_s, end_s = former.window_s
        if start_s + _EDGE_S <= now_s <= end_s - _EDGE_S:
            return Exemption.ARI_WINDOW
    same = sorted(former.names) == sorted(order.names) and now_s < former.not_after_s + _REMEMBERED_S
    return Exemption.SAME_NAMES if same else Exemption.NONE
