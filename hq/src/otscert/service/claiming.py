"""The claim of an order: its issuer is chosen, what it costs is spent, and what it replaces is decided, all at once.

Called inside the transaction that moves it; nothing has been asked of a CA by then.
"""

from __future__ import annotations

from dataclasses import replace

from otscert.domain.breaker import BreakerState, tried
from otscert.domain.choice import Choice
from otscert.domain.order import Order, OrderEvent
from otscert.service.budget import spend_or_wait
from otscert.service.choosing import choose
from otscert.service.context import Hq
from otscert.service.outcomes import OrderRests
from otscert.service.replacing import find_predecessor
from otscert.service.standing import why_order_rests
from otscert.store.transaction import Transaction

_SPREAD_S = 30


def claim(hq: Hq, transaction: Transaction, order: Order) -> Order | str:
    """Claim an order that waits; or put it aside, and return why.

    Raises `OrderRests`, and `Moved` when it is another process's by now.
    """
    rest_or_go_on(transaction, order)
    choice = choose(hq, transaction, order)
    known = None if choice.name is None else transaction.issuers.get(choice.name)
    if choice.name is None or known is None or known.breaker.state(hq.now_s()) is BreakerState.OPEN:
        return _put_aside(hq, transaction, order, choice)
    if choice.trial and order.waits_for is None:
        transaction.issuers.save(replace(known, breaker=tried(known.breaker, now_s=hq.now_s())))
    placed = order if choice.name == order.issuer else move(hq, transaction, order, choice)
    replaces = find_predecessor(transaction, placed, now_s=hq.now_s())
    refused = spend_or_wait(hq, transaction, placed, replaces=replaces)
    if refused is not None:
        return refused.reason
    return transaction.orders.advance(
        placed, OrderEvent.CLAIM, reason="ordering at the CA", replaces=replaces, waits_for=None
    )


def move(hq: Hq, transaction: Transaction, order: Order, choice: Choice) -> Order:
    """Give an order that waits to the chosen issuer; or raise `Moved`."""
    note_move(hq, transaction, order, choice)
    return transaction.orders.move_to(order, str(choice.name))


def note_move(hq: Hq, transaction: Transaction, order: Order, choice: Choice) -> None:
    transaction.events.append(
        "order.moved",
        now_s=hq.now_s(),
        device_id=order.device_id,
        order_id=order.id,
        data={"from": order.issuer, "to": choice.name, "reason": choice.reason, "state": order.state},
    )


def rest_or_go_on(transaction: Transaction, order: Order) -> None:
    """Raise `OrderRests` where nothing may be done for the order now."""
    reason = why_order_rests(transaction, order)
    if reason is not None:
        raise OrderRests(reason)


def _put_aside(hq: Hq, transaction: Transaction, order: Order, choice: Choice) -> str:
    spread_s = hq.jitter() * min(choice.wait_s, _SPREAD_S)
    transaction.orders.rest(order, next_at_s=hq.now_s() + choice.wait_s + round(spread_s), reason=choice.reason)
    return choice.reason
