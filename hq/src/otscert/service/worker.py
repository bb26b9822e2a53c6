"""The queue of orders: takes what is due and runs it. What becomes of a run that ended early is `setbacks`'.

What is taken is leased to this process before it is run; `keep` renews the leases of all of them. An order whose lease
has run out (its process was killed, or stood still) is taken by another process; who had it before can write nothing
about it any more (`store.orders`), and stops working on it as soon as it finds out.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field

from otscert.acme.fault import Fault, Remedy, Whose
from otscert.ca.errors import CaError
from otscert.counting import Issuances
from otscert.domain.order import Order, OrderState
from otscert.service.budget import waiting_with_room
from otscert.service.clock_watch import ClockWatch
from otscert.service.context import Hq
from otscert.service.issuance import Issuance, IssuanceError, OrderRests, OrderWaits
from otscert.service.ports import Signals, Store
from otscert.service.setbacks import Setbacks
from otscert.service.topics import DUE, order_ended, room_for_orders
from otscert.store.errors import Moved, StoreUnavailable
from otscert.store.transaction import Transaction

LEASE_S = 15
"""How long an order stays with a process that is not heard of any more."""
_LOOK_AGAIN_S = 5.0
_STORE_GONE_S = 1.0
_CRASHED_S = 300.0
_CRASHED = Fault(
    remedy=Remedy.BACK_OFF,
    reason="HQ itself failed; its log has the details",
    retry_after_s=_CRASHED_S,
    about=Whose.OURS,
)
_log = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class Worker:
    """Runs until cancelled; at most `max_in_flight` orders at the CA at a time."""

    hq: Hq
    store: Store
    issuance: Issuance
    setbacks: Setbacks
    signals: Signals
    max_in_flight: int
    issuances: Issuances = field(default_factory=Issuances)
    _running: dict[str, asyncio.Task[None]] = field(default_factory=dict)

    async def work(self) -> None:
        """Take due orders for ever."""
        clock = ClockWatch(hq=self.hq, store=self.store)
        with self.signals.listen(DUE, self._room) as heard:
            while True:
                try:
                    await clock.look()
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

    async def give_back(self) -> None:
        """After `stop`: let other processes go on at once with what this one had."""
        try:
            freed = await self.store.write(lambda transaction: transaction.orders.free_leases(by=self.hq.process))
        except StoreUnavailable as error:
            _log.warning("worker.leases_kept", extra={"reason": str(error), "seconds": LEASE_S})
        else:
            if freed:
                self.signals.publish(DUE)

    async def keep(self) -> None:
        """Renew the leases of all that runs here, and end what another process has taken over. Call it every 5 s."""
        by, until_s, running = self.hq.process, self.hq.now_s() + LEASE_S, tuple(self._running)

        def renew(transaction: Transaction) -> set[str]:
            transaction.orders.renew_leases(by=by, until_s=until_s)
            return transaction.orders.lost(running, by=by)

        for order_id in await self.store.write(renew) if running else ():
            _log.warning("order.taken_over", extra={"order": order_id})
            if order_id in self._running:
                self._running[order_id].cancel()

    @property
    def _room(self) -> str:
        return room_for_orders(self.hq.process)

    async def _start_due(self) -> float:
        """Start what is due and fits; returns the seconds until something else can become due."""
        now_s = self.hq.now_s()
        room = self.max_in_flight - len(self._running)
        if room <= 0:
            return _LOOK_AGAIN_S
        for order in await self._lease_due(now_s=now_s, room=room):
            self._running[order.id] = asyncio.create_task(self._run(order))
        if len(self._running) >= self.max_in_flight:
            return _LOOK_AGAIN_S  # the end of a running order wakes us
        by, running = self.hq.process, tuple(self._running)
        next_s = await self.store.read(
            lambda transaction: transaction.orders.next_due_s(besides=running, now_s=now_s, by=by)
        )
        return _LOOK_AGAIN_S if next_s is None else min(_LOOK_AGAIN_S, max(0.05, next_s - now_s))

    async def _lease_due(self, *, now_s: int, room: int) -> list[Order]:
        """Take at most `room` due orders for this process; on disk when this returns."""
        by, running = self.hq.process, frozenset(self._running)

        def choose(transaction: Transaction) -> list[Order]:
            due = transaction.orders.due(now_s=now_s, limit=room + len(running), by=by)
            waiting = waiting_with_room(self.hq, transaction, limit=room, besides=running)
            # What is under way first: its CA does not wait for ever.
            ready = [order for order in [*waiting, *due] if order.id not in running]
            return sorted(ready, key=lambda order: (order.state is OrderState.WAITING, order.rank))[:room]

        def lease(transaction: Transaction) -> list[Order]:
            return transaction.orders.lease(choose(transaction), by=by, until_s=now_s + LEASE_S)

        return await self.store.write(lease) if await self.store.read(choose) else []

    async def _run(self, order: Order) -> None:
        try:
            await self._run_or_postpone(order)
        except (Moved, StoreUnavailable) as error:
            _log.warning("order.put_back", extra={"order": order.id, "reason": str(error)})
            # Handed out again at once it would ask the CA again at once, as long as nothing can be written down.
            await asyncio.sleep(_STORE_GONE_S)
        except Exception:  # noqa: BLE001 - as above: not even that HQ failed could be written down
            _log.exception("order.not_written_down", extra={"order": order.id})
            await asyncio.sleep(_CRASHED_S)
        finally:
            del self._running[order.id]
            self.signals.publish(self._room)

    async def _run_or_postpone(self, order: Order) -> None:
        try:
            await self._run_and_write_down(order)
        except (Moved, StoreUnavailable):
            raise
        except Exception:  # noqa: BLE001
            # One poisoned order must neither stop the queue nor be tried again at once for ever.
            _log.exception("order.crashed", extra={"order": order.id})
            await self.setbacks.write_down(order, _CRASHED, restart=False)

    async def _run_and_write_down(self, order: Order) -> None:
        try:
            issued = await self.issuance.run(order)
            self.issuances.add(issued.issuer, created_at_s=issued.created_at_s, now_s=self.hq.now_s())
            _log.info("order.issued", extra={"order": issued.id, "device": issued.device_id, "names": issued.names})
        except CaError as error:
            await self.setbacks.write_down(order, error.fault, restart=False)
        except IssuanceError as error:
            await self.setbacks.write_down(order, error.fault, restart=error.restart)
        except OrderRests as rests:
            await self.setbacks.rest(order, str(rests))
        except OrderWaits as waits:
            _log.info("order.queued", extra={"order": order.id, "device": order.device_id, "reason": str(waits)})
            self.signals.publish(order_ended(order.id))
