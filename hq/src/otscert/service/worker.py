"""The queue of orders: takes what is due, runs it, and writes down why what failed waits, and until when."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field

from otscert.acme.fault import Fault, Remedy
from otscert.ca.errors import CaError
from otscert.counting import Issuances
from otscert.domain.order import TERMINAL, Order, OrderEvent, back_off_s
from otscert.service.context import Hq
from otscert.service.issuance import Issuance, IssuanceError, OrderRests
from otscert.service.ports import Signals, Store, ZonePublisher
from otscert.service.standing import why_order_rests
from otscert.service.topics import DUE, order_ended
from otscert.store.errors import Moved, StoreUnavailable
from otscert.store.transaction import Transaction

_LOOK_AGAIN_S = 10.0
_STORE_GONE_S = 1.0
_REST_S = 24 * 3600
"""How often it is looked whether an order may go on that nothing is done for; whatever ends the rest wakes it."""
_PARKED = frozenset({Remedy.PARK, Remedy.ACCOUNT})
_log = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class Worker:
    """Runs until cancelled; at most `max_in_flight` orders at the CA at a time."""

    hq: Hq
    store: Store
    issuance: Issuance
    signals: Signals
    zone: ZonePublisher
    max_in_flight: int
    issuances: Issuances = field(default_factory=Issuances)
    _running: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    _parked_until_s: int = 0
    """The CA refuses the whole account until then (rate limit, terms to accept): no order is tried before."""

    async def work(self) -> None:
        """Take due orders for ever."""
        with self.signals.listen(DUE) as heard:
            while True:
                try:
                    wait_s = await self._start_due()
                except StoreUnavailable as error:
                    _log.error("worker.store_unavailable", extra={"reason": str(error)})
                    wait_s = _STORE_GONE_S
                await heard(wait_s)

    async def stop(self) -> None:
        """End the running orders; they resume from what is on disk."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _start_due(self) -> float:
        """Start what is due and fits; returns the seconds until something else can become due."""
        now_s = self.hq.now_s()
        if now_s < self._parked_until_s:
            return min(_LOOK_AGAIN_S, self._parked_until_s - now_s)
        room = self.max_in_flight - len(self._running)
        if room <= 0:
            return _LOOK_AGAIN_S
        limit = room + len(self._running)
        due = await self.store.read(lambda transaction: transaction.orders.due(now_s=now_s, limit=limit))
        for order in [order for order in due if order.id not in self._running][:room]:
            self._running[order.id] = asyncio.create_task(self._run(order))
        if len(self._running) >= self.max_in_flight:
            return _LOOK_AGAIN_S  # the end of a running order wakes us
        next_s = await self.store.read(lambda transaction: transaction.orders.next_due_s(besides=tuple(self._running)))
        return _LOOK_AGAIN_S if next_s is None else min(_LOOK_AGAIN_S, max(0.05, next_s - now_s))

    async def _run(self, order: Order) -> None:
        try:
            await self._run_or_postpone(order)
        except (Moved, StoreUnavailable) as error:
            _log.warning("order.put_back", extra={"order": order.id, "reason": str(error)})
            # Handed out again at once it would ask the CA again at once, as long as nothing can be written down.
            await asyncio.sleep(_STORE_GONE_S)
        finally:
            del self._running[order.id]
            self.signals.publish(DUE)

    async def _run_or_postpone(self, order: Order) -> None:
        try:
            issued = await self.issuance.run(order)
            self.issuances.add(issued.issuer, created_at_s=issued.created_at_s, now_s=self.hq.now_s())
            _log.info("order.issued", extra={"order": issued.id, "device": issued.device_id, "names": issued.names})
        except CaError as error:
            await self._wait_or_fail(order, error.fault, restart=False)
        except IssuanceError as error:
            await self._wait_or_fail(order, error.fault, restart=error.restart)
        except OrderRests as rests:
            await self._rest(order, str(rests))
        except (Moved, StoreUnavailable):
            raise
        except Exception:  # noqa: BLE001
            # One poisoned order must neither stop the queue nor be tried again at once for ever.
            _log.exception("order.crashed", extra={"order": order.id})
            fault = Fault(remedy=Remedy.BACK_OFF, reason="HQ itself failed; its log has the details", retry_after_s=300)
            await self._wait_or_fail(order, fault, restart=False)

    async def _rest(self, order: Order, reason: str) -> None:
        """Put an order aside that may not go on now, unless that has changed in this moment."""
        now_s = self.hq.now_s()

        def write(transaction: Transaction) -> None:
            reached = transaction.orders.get(order.id)
            if reached is not None and reached.state not in TERMINAL and why_order_rests(transaction, reached):
                transaction.orders.rest(reached, next_at_s=now_s + _REST_S, reason=reason)

        await self.store.write(write)
        _log.info("order.rests", extra={"order": order.id, "device": order.device_id, "reason": reason})
        self.signals.publish(order_ended(order.id))

    async def _wait_or_fail(self, order: Order, fault: Fault, *, restart: bool) -> None:
        """Write down what the fault means for the order, from the state that it has reached by now."""
        now_s = self.hq.now_s()
        wait_s = back_off_s(
            order.attempt + 1,
            retry_after_s=fault.retry_after_s,
            jitter=self.hq.jitter(),
            costly=fault.remedy is Remedy.DNS,
        )
        if fault.remedy in _PARKED:
            self._parked_until_s = now_s + wait_s

        def write(transaction: Transaction) -> list[tuple[str, str]]:
            reached = transaction.orders.get(order.id)
            if reached is None or reached.state in TERMINAL:
                return []
            if fault.remedy is Remedy.PERMANENT:
                return self._fail(transaction, reached, fault, now_s=now_s)
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
