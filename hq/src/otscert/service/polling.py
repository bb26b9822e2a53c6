"""A box asks for its order, and is kept waiting until there is something to say."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from otscert.domain.device import Device
from otscert.domain.order import Order, OrderState
from otscert.service.context import Hq
from otscert.service.conversation import Answer, Conversation, Refused, Request
from otscert.service.ports import Signals, Store, ZonePublisher
from otscert.service.presence import welcome_back
from otscert.service.publish import published_addresses, shown
from otscert.service.refusal import Refusal, make_problem
from otscert.service.standing import refuse_retired
from otscert.service.topics import DUE, order_ended, poll_replaced
from otscert.store.errors import StoreUnavailable
from otscert.store.transaction import Transaction
from otscert_agent.wire.messages import OrderState as OrderStateMessage
from otscert_agent.wire.problems import ProblemType

HOLD_S = 25.0
_SOON_S = 30  # an order due within this time is worth holding the connection for
_SEEN_EVERY_S = 24 * 3600
"""A box that waits for its first certificate does not check in; its polls show that it is there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderPolling:
    """The long poll: an answer at once when the order has ended or waits for long, else when it ends."""

    hq: Hq
    store: Store
    signals: Signals
    conversation: Conversation
    zone: ZonePublisher
    held: dict[str, int] = field(default_factory=dict)
    """The `seq` of the newest poll of each key: an older one is answered at once, so that one box holds one place."""

    async def __call__(self, request: Request[None], order_id: str) -> Answer:
        refused = await self.conversation.claim(request)
        if refused is not None:
            return refused
        try:
            await self._see(request, order_id)
        except StoreUnavailable as error:
            return self.conversation.unavailable(request, error)
        time_s = asyncio.get_running_loop().time
        deadline_s = time_s() + HOLD_S
        if request.thumbprint in self.held:
            self.signals.publish(poll_replaced(request.thumbprint))
        # By seq, not by arrival: two polls may come out of the commit in either order.
        self.held[request.thumbprint] = max(request.seq, self.held.get(request.thumbprint, 0))
        # Listening starts before looking, so that an end in between is not missed.
        with self.signals.listen(order_ended(order_id), poll_replaced(request.thumbprint)) as heard:
            try:
                message = await self._look(request, order_id)
                while self._is_newest(request) and _worth_holding(message) and time_s() < deadline_s:
                    await heard(deadline_s - time_s())
                    message = await self._look(request, order_id)
            except StoreUnavailable as error:
                return self.conversation.unavailable(request, error)
            finally:
                if self._is_newest(request):
                    del self.held[request.thumbprint]
        return self.conversation.answer(request, message)

    async def _see(self, request: Request[None], order_id: str) -> None:
        """Enter, once a day, that the box is there; one that had left DNS comes back, and its order goes on."""

        def mine(transaction: Transaction) -> Device | None:
            order = transaction.orders.get(order_id)
            device = transaction.devices.get(order.device_id) if order else None
            if device is None or device.thumbprint != request.thumbprint or device.retired is not None:
                return None
            return device if not device.in_dns or request.now_s - device.last_seen_s >= _SEEN_EVERY_S else None

        def enter(transaction: Transaction) -> Device | None:
            device = mine(transaction)
            if device is None:
                return None
            away = welcome_back(transaction, device, now_s=request.now_s)
            transaction.devices.seen(device.id, now_s=request.now_s)
            return device if away else None

        back = await self.store.write(enter) if await self.store.read(mine) is not None else None
        if back is not None and back.model in self.hq.models:
            model = self.hq.models[back.model]
            policy = shown(model, serves=back.serving_since_s is not None)
            self.zone.activate(back.label, published_addresses(model, back.addresses), policy)
            self.signals.publish(DUE)

    def _is_newest(self, request: Request[None]) -> bool:
        return self.held.get(request.thumbprint) == request.seq

    async def _look(self, request: Request[None], order_id: str) -> OrderStateMessage:
        def read(transaction: Transaction) -> OrderStateMessage | None:
            order = transaction.orders.get(order_id)
            device = transaction.devices.get(order.device_id) if order else None
            if order is None or device is None or device.thumbprint != request.thumbprint:
                return None
            refuse_retired(device)
            certificate = transaction.certificates.get(order.certificate_sha256 or "")
            chain_pem = certificate.chain_pem if certificate else None
            # An order may rest for longer, but a box that is let order again must not sleep through it.
            return _message(order, chain_pem, now_s=self.hq.now_s(), most_s=self.hq.checkin_s)

        try:
            message = await self.store.read(read)
        except Refusal as refusal:
            raise Refused(self.conversation.answer(request, refusal.problem)) from refusal
        if message is None:
            # Another device's order looks like no order at all.
            problem = make_problem(ProblemType.NOT_FOUND, "this box has no such order")
            raise Refused(self.conversation.answer(request, problem))
        return message


def _worth_holding(message: OrderStateMessage) -> bool:
    return message.status == "waiting" and (message.retry_after_s or 0) <= _SOON_S


def _message(order: Order, chain_pem: str | None, *, now_s: int, most_s: int) -> OrderStateMessage:
    if order.state is OrderState.ISSUED:
        return OrderStateMessage(status="issued", chain=chain_pem)
    if order.state is OrderState.FAILED:
        return OrderStateMessage(status="failed", why=order.reason)
    wait_s = min(max(0, order.next_at_s - now_s), most_s)
    return OrderStateMessage(status="waiting", why=order.reason, retry_after_s=wait_s)
