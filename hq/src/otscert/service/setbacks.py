"""What becomes of an order whose run ended early: why it waits and until when, or that it has failed for good."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

from otscert.acme.fault import Fault, Remedy, Whose
from otscert.domain.choice import Choice, Trouble
from otscert.domain.order import TERMINAL, Order, OrderEvent, OrderState, back_off_s
from otscert.service.budget import count_failure, give_back, park_named
from otscert.service.choosing import choose, trouble_of
from otscert.service.claiming import note_move
from otscert.service.context import Hq
from otscert.service.learning import learn_fault
from otscert.service.ports import Signals, Store, ZonePublisher
from otscert.service.standing import why_order_rests
from otscert.service.topics import order_ended
from otscert.store.errors import Moved
from otscert.store.transaction import Transaction

_REST_S = 24 * 3600
"""How often it is looked whether an order may go on that nothing is done for; whatever ends the rest wakes it."""
_MOVES_AT_ONCE = 20
"""After so many runs an order that no issuer serves goes from one to the other no quicker than it is tried again."""
_PAUSED_S = 6 * 3600
"""How often it is tried whether somebody has followed the CA's link."""
_ISSUERS_FAULT = frozenset({Trouble.ISSUER, Trouble.ACCOUNT, Trouble.PAUSED})
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setbacks:
    hq: Hq
    store: Store
    zone: ZonePublisher
    signals: Signals

    async def rest(self, order: Order, reason: str) -> None:
        """Put an order aside that may not go on now, unless that has changed in this moment."""
        now_s = self.hq.now_s()

        def write(transaction: Transaction) -> None:
            reached = transaction.orders.get(order.id)
            if reached is None or reached.state in TERMINAL:
                return
            _still_mine(reached, order)
            if why_order_rests(transaction, reached):
                transaction.orders.rest(reached, next_at_s=now_s + _REST_S, reason=reason)

        await self.store.write(write)
        _log.info("order.rests", extra={"order": order.id, "device": order.device_id, "reason": reason})
        self.signals.publish(order_ended(order.id))

    async def write_down(self, order: Order, fault: Fault, *, restart: bool) -> int:
        """Write down what the fault means for the order, from the state that it has reached by now.

        Returns the seconds until the next run. `restart`: the CA's order cannot be used any more.
        """
        now_s = self.hq.now_s()
        wait_s = back_off_s(
            order.attempt + 1,
            retry_after_s=_PAUSED_S if fault.remedy is Remedy.PAUSED else fault.retry_after_s,
            jitter=self.hq.jitter(),
            costly=fault.remedy is Remedy.DNS,
        )

        def write(transaction: Transaction) -> list[tuple[str, str]]:
            reached = transaction.orders.get(order.id)
            if reached is None or reached.state in TERMINAL:
                return []
            _still_mine(reached, order)
            trouble = trouble_of(fault)
            reached = self._learn(transaction, reached, fault, trouble, now_s=now_s)
            choice = choose(self.hq, transaction, reached, trouble=trouble)
            moves = reached.state is not OrderState.WAITING and choice.name not in {None, reached.issuer}
            if restart or moves or fault.remedy is Remedy.PERMANENT:
                give_back(self.hq, transaction, reached)
            if moves:
                next_at_s = now_s if reached.attempt < _MOVES_AT_ONCE else now_s + wait_s
                return self._move(transaction, reached, fault, choice, next_at_s=next_at_s)
            if fault.remedy is Remedy.PERMANENT:
                return self._fail(transaction, reached, fault, now_s=now_s)
            if fault.remedy is Remedy.PARK:
                return self._park(transaction, reached, fault, restart=restart, now_s=now_s)
            return self._wait(transaction, reached, fault, restart=restart, wait_s=wait_s)

        dropped = await self.store.write(write)
        for label, value in dropped:
            self.zone.drop_txt(label, value)
        _log.warning(
            "order.waits",
            extra={"order": order.id, "reason": fault.reason, "remedy": fault.remedy.value, "wait_s": wait_s},
        )
        self.signals.publish(order_ended(order.id))
        return wait_s

    def _learn(self, transaction: Transaction, order: Order, fault: Fault, trouble: Trouble, *, now_s: int) -> Order:
        """Take down what the fault says of the issuer, of its limits, and of how long it has failed this order."""
        if fault.whose is not Whose.OURS:
            learn_fault(transaction, order.issuer, fault, names=order.names, now_s=now_s)
        if fault.remedy is Remedy.DNS:
            count_failure(self.hq, transaction, order)
        if trouble in _ISSUERS_FAULT and order.failing_since_s is None:
            return transaction.orders.fails_since(order, now_s)
        return order

    def _wait(
        self, transaction: Transaction, order: Order, fault: Fault, *, restart: bool, wait_s: int
    ) -> list[tuple[str, str]]:
        next_at_s = self.hq.now_s() + wait_s
        transaction.events.append(
            "order.waits",
            now_s=self.hq.now_s(),
            device_id=order.device_id,
            order_id=order.id,
            data={"reason": fault.reason, "remedy": fault.remedy.value, "wait_s": wait_s, "state": order.state},
        )
        if not restart:
            transaction.orders.postpone(order, next_at_s=next_at_s, reason=fault.reason)
            return []
        attempt = order.attempt + 1
        transaction.orders.advance(
            order, OrderEvent.RESTART, url=None, attempt=attempt, reason=fault.reason, next_at_s=next_at_s
        )
        return transaction.challenges.drop(order.id)

    def _move(
        self, transaction: Transaction, order: Order, fault: Fault, choice: Choice, *, next_at_s: int
    ) -> list[tuple[str, str]]:
        """Begin again at another issuer; what the first one has of it was never finalized, and lapses there."""
        note_move(self.hq, transaction, order, choice)
        transaction.orders.advance(
            order,
            OrderEvent.RESTART,
            issuer=choice.name,
            url=None,
            replaces=None,
            failing_since_s=None,
            attempt=order.attempt + 1,
            reason=fault.reason,
            next_at_s=next_at_s,
        )
        _log.warning("order.moved", extra={"order": order.id, "to": choice.name, "reason": choice.reason})
        return transaction.challenges.drop(order.id)

    def _park(
        self, transaction: Transaction, order: Order, fault: Fault, *, restart: bool, now_s: int
    ) -> list[tuple[str, str]]:
        """A limit of the CA is used up: nothing of it is asked before the CA's moment, and no run is counted."""
        refused = park_named(self.hq, transaction, order, fault)
        if restart:
            # Nothing was opened, so it may go elsewhere: now, not when the bucket has room again.
            choice = choose(self.hq, transaction, replace(order, state=OrderState.WAITING))
            if choice.name not in {None, order.issuer}:
                return self._move(transaction, order, fault, choice, next_at_s=now_s)
        transaction.events.append(
            "order.waits",
            now_s=now_s,
            device_id=order.device_id,
            order_id=order.id,
            data={
                "reason": fault.reason,
                "remedy": fault.remedy.value,
                "wait_s": refused.turn_s - now_s,
                "state": order.state,
                "limit": refused.bucket.kind.value,
            },
        )
        if not restart:
            transaction.orders.rest(order, next_at_s=refused.turn_s, reason=refused.reason)
            return []
        transaction.orders.advance(
            order,
            OrderEvent.RESTART,
            url=None,
            reason=refused.reason,
            next_at_s=refused.turn_s,
            waits_for=refused.bucket.name if refused.queued else None,
        )
        return transaction.challenges.drop(order.id)

    def _fail(self, transaction: Transaction, order: Order, fault: Fault, *, now_s: int) -> list[tuple[str, str]]:
        transaction.orders.advance(order, OrderEvent.FAIL, reason=fault.reason)
        transaction.events.append(
            "order.failed",
            now_s=now_s,
            device_id=order.device_id,
            order_id=order.id,
            data={"reason": fault.reason, "ca_order": order.url},
        )
        return transaction.challenges.drop(order.id)


def _still_mine(reached: Order, order: Order) -> None:
    """Raise `Moved` when another process works on it by now: what this one saw of it is over."""
    if reached.lease_by != order.lease_by:
        raise Moved(f"order {order.id} was taken over by another process")
