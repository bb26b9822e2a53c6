"""What becomes of an order whose run ended early: why it waits and until when, or that it has failed for good."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from otscert.acme.fault import Fault, Remedy
from otscert.domain.order import TERMINAL, Order, OrderEvent, back_off_s
from otscert.service.budget import count_failure, give_back, park_named
from otscert.service.context import Hq
from otscert.service.ports import Signals, Store, ZonePublisher
from otscert.service.standing import why_order_rests
from otscert.service.topics import order_ended
from otscert.store.errors import Moved
from otscert.store.transaction import Transaction

_REST_S = 24 * 3600
"""How often it is looked whether an order may go on that nothing is done for; whatever ends the rest wakes it."""
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
            retry_after_s=fault.retry_after_s,
            jitter=self.hq.jitter(),
            costly=fault.remedy is Remedy.DNS,
        )

        def write(transaction: Transaction) -> list[tuple[str, str]]:
            reached = transaction.orders.get(order.id)
            if reached is None or reached.state in TERMINAL:
                return []
            _still_mine(reached, order)
            if fault.remedy is Remedy.DNS:
                count_failure(self.hq, transaction, reached)
            if restart or fault.remedy is Remedy.PERMANENT:
                give_back(self.hq, transaction, reached)
            if fault.remedy is Remedy.PERMANENT:
                return self._fail(transaction, reached, fault, now_s=now_s)
            if fault.remedy is Remedy.PARK:
                return self._park(transaction, reached, fault, restart=restart, now_s=now_s)
            transaction.events.append(
                "order.waits",
                now_s=now_s,
                device_id=order.device_id,
                order_id=order.id,
                data={"reason": fault.reason, "remedy": fault.remedy.value, "wait_s": wait_s, "state": reached.state},
            )
            if restart:
                transaction.orders.advance(
                    reached,
                    OrderEvent.RESTART,
                    url=None,
                    attempt=reached.attempt + 1,
                    reason=fault.reason,
                    next_at_s=now_s + wait_s,
                )
                return transaction.challenges.drop(order.id)
            transaction.orders.postpone(reached, next_at_s=now_s + wait_s, reason=fault.reason)
            return []

        dropped = await self.store.write(write)
        for label, value in dropped:
            self.zone.drop_txt(label, value)
        _log.warning(
            "order.waits",
            extra={"order": order.id, "reason": fault.reason, "remedy": fault.remedy.value, "wait_s": wait_s},
        )
        self.signals.publish(order_ended(order.id))
        return wait_s

    def _park(
        self, transaction: Transaction, order: Order, fault: Fault, *, restart: bool, now_s: int
    ) -> list[tuple[str, str]]:
        """A limit of the CA is used up: nothing of it is asked before the CA's moment, and no run is counted."""
        refused = park_named(self.hq, transaction, order, fault)
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
            data={"reason": fault.reason},
        )
        return transaction.challenges.drop(order.id)


def _still_mine(reached: Order, order: Order) -> None:
    """Raise `Moved` when another process works on it by now: what this one saw of it is over."""
    if reached.lease_by != order.lease_by:
        raise Moved(f"order {order.id} was taken over by another process")
