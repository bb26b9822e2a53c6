"""One order through a CA, step by step: what is about to happen is on disk before it happens.

Each step reads the order's state, does what that state calls for, and moves it by the table of `domain.order`. Started
again after a kill at any instruction it goes on from the state on disk. Never two certificates for one CSR: after
FINALIZING the same CA order is asked until the CA itself says that it is invalid.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field

from otscert.acme.fault import Fault, Remedy, Whose
from otscert.acme.order import Order as AcmeOrder
from otscert.acme.order import OrderStatus
from otscert.ca.errors import CaError
from otscert.ca.issuer import Dns01Challenge
from otscert.domain.order import TERMINAL, Order, OrderEvent, OrderState
from otscert.service.budget import spend_anyway
from otscert.service.claiming import claim, rest_or_go_on
from otscert.service.context import Hq
from otscert.service.outcomes import IssuanceError, OrderRests, OrderWaits
from otscert.service.ports import Account, NameServers, Signals, Store, ZonePublisher
from otscert.service.receiving import Receiving
from otscert.service.topics import order_ended
from otscert.service.watching import Watching
from otscert.store.errors import AlreadyThere
from otscert.store.orders import moved
from otscert.store.transaction import Transaction

__all__ = ["Issuance", "IssuanceError", "OrderRests", "OrderWaits"]

Reached = tuple[Order, AcmeOrder | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Issuance:
    """Takes orders through their issuers. Safe for concurrent orders; one order is run by one caller at a time.

    `accounts` are the issuers that can be asked, by name; `places` bounds how many orders are at one of them at a time.
    """

    hq: Hq
    store: Store
    accounts: Mapping[str, Account]
    zone: ZonePublisher
    name_servers: NameServers
    signals: Signals
    places: Mapping[str, asyncio.Semaphore] = field(default_factory=dict)
    watching: Watching = field(init=False)
    receiving: Receiving = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "watching", Watching(hq=self.hq))
        object.__setattr__(self, "receiving", Receiving(hq=self.hq, store=self.store, zone=self.zone))

    async def run(self, order: Order) -> Order:
        """Advance an order until it has ended; raise `CaError` or `IssuanceError` where it cannot go on now.

        Raises `OrderWaits` while no issuer can be asked, and `OrderRests` where its box is not to be served now; an
        order that is being finalized is always finished.
        """
        if order.state is not OrderState.FINALIZING:
            await self.store.read(lambda transaction: rest_or_go_on(transaction, order))
        fresh = order.state is OrderState.WAITING
        if fresh:
            order = await self._claim(order)
        async with self.places.get(order.issuer) or nullcontext():
            order = await self._go_on(order, fresh=fresh)
        self.signals.publish(order_ended(order.id))
        return order

    async def _go_on(self, order: Order, *, fresh: bool) -> Order:
        """Take a claimed order to its end; `fresh` when nothing was asked of the CA for it yet."""
        steps: dict[OrderState, Callable[[Order, AcmeOrder | None], Awaitable[Reached]]] = {
            OrderState.CREATING: self._open if fresh else self._find_again,
            OrderState.CREATED: self._publish,
            OrderState.PUBLISHED: self._prove,
            OrderState.FINALIZING: self._finish,
        }
        seen: AcmeOrder | None = None
        while order.state not in TERMINAL:
            order, seen = await steps[order.state](order, seen)
        return order

    # ---- the steps: the order as it is on disk, and the CA's view of it when this run has just seen it

    async def _claim(self, order: Order) -> Order:
        claimed = await self.store.write(lambda transaction: claim(self.hq, transaction, order))
        if isinstance(claimed, str):
            raise OrderWaits(claimed)
        return claimed

    async def _open(self, order: Order, _seen: AcmeOrder | None) -> Reached:
        try:
            order, opened = await self._place(order)
        except CaError as error:
            if error.fault.remedy is not Remedy.PARK:
                raise
            # Refused by a limit: nothing was opened, so its turn may come again, at this issuer or at another one.
            raise IssuanceError(error.fault, restart=True) from error
        try:
            return await self._advance(order, OrderEvent.OPEN, url=opened.url), opened
        except AlreadyThere as error:
            # A CA that reuses orders gives the same one to a box that asks twice; one certificate is made of it.
            reason = "an earlier order of this box for the same names is still under way"
            raise IssuanceError(_ours(reason)) from error

    async def _place(self, order: Order) -> tuple[Order, AcmeOrder]:
        """Have the CA open the order, as a replacement if it takes it for one.

        A CA that opened it before HQ ended calls the certificate replaced already; asked again without `replaces`, one
        that reuses orders returns that very order.
        """
        account = self._account(order)
        try:
            return order, await account.open_order(order.names, profile=order.profile, replaces=order.replaces)
        except CaError as error:
            if order.replaces is None or error.fault.remedy is not Remedy.WITHOUT_REPLACES:
                raise
            fault = error.fault

        def drop(transaction: Transaction) -> Order:
            transaction.events.append(
                "order.replaces_nothing",
                now_s=self.hq.now_s(),
                device_id=order.device_id,
                order_id=order.id,
                data={"replaces": order.replaces, "reason": fault.reason},
            )
            spend_anyway(self.hq, transaction, order)
            return transaction.orders.drop_replaces(order)

        dropped = await self.store.write(drop)
        return dropped, await account.open_order(dropped.names, profile=dropped.profile)

    async def _find_again(self, order: Order, seen: AcmeOrder | None) -> Reached:
        """HQ ended between newOrder and the commit of its URL: look for the order before placing another."""
        found = await self._account(order).find_order(order.names)
        if found is not None and not await self._is_known(found.url):
            return await self._advance(order, OrderEvent.OPEN, url=found.url), found
        return await self._open(order, seen)

    async def _is_known(self, url: str) -> bool:
        return await self.store.read(lambda transaction: transaction.orders.url_known(url))

    async def _publish(self, order: Order, seen: AcmeOrder | None) -> Reached:
        acme_order = seen or await self._look(order)
        challenges = await self._account(order).challenges(acme_order)

        def publish(transaction: Transaction) -> Order:
            transaction.challenges.put(order.id, order.label, _values(challenges))
            return transaction.orders.advance(order, OrderEvent.PUBLISH, reason="proving control of the name")

        published = await self.store.write(publish)
        return published, await self._answer_and_wait(published, challenges)

    async def _prove(self, order: Order, seen: AcmeOrder | None) -> Reached:
        acme_order = seen or await self._look(order)
        if acme_order.status is OrderStatus.PENDING:
            # HQ ended after PUBLISHED was on disk: what was not answered by then is answered now. The values are
            # others when the account's key was changed since.
            challenges = await self._account(order).challenges(acme_order)
            values = _values(challenges)
            await self.store.write(lambda transaction: put_again(transaction, order, values))
            acme_order = await self._answer_and_wait(order, challenges)
        return await self._advance(order, OrderEvent.FINALIZE, reason="the CA is issuing"), acme_order

    async def _finish(self, order: Order, seen: AcmeOrder | None) -> Reached:
        """The CSR may have been sent before HQ ended: the CA's word decides whether it was received."""
        account = self._account(order)
        acme_order = seen or await self._look(order)
        if acme_order.status is OrderStatus.READY:
            acme_order = await self._send_csr(order, acme_order)
        if acme_order.status is not OrderStatus.VALID:
            acme_order = await self.watching.until(account, order, OrderStatus.VALID)
        return await self.receiving.take(order, await account.chain(acme_order)), None

    # ---- what the steps do

    def _account(self, order: Order) -> Account:
        """The account that the order was given to; raise `IssuanceError` where that issuer was taken out since."""
        account = self.accounts.get(order.issuer)
        if account is not None:
            return account
        reason = f"its issuer {order.issuer} is not in the configuration any more"
        if order.state is OrderState.FINALIZING:
            # It may have issued; the box makes a new key rather than that there are two certificates for this one.
            fault = Fault(remedy=Remedy.PERMANENT, reason=f"{reason}, and was asked to issue", about=Whose.OURS)
            raise IssuanceError(fault)
        raise IssuanceError(_ours(reason), restart=True)

    async def _answer_and_wait(self, order: Order, challenges: Sequence[Dns01Challenge]) -> AcmeOrder:
        """Publish the values, see them served, tell the CA, and wait until it has looked."""
        if challenges:
            await self._answer_challenges(order, challenges)
        return await self.watching.until(self._account(order), order, OrderStatus.READY)

    async def _answer_challenges(self, order: Order, challenges: Sequence[Dns01Challenge]) -> None:
        values = _values(challenges)
        for value in values:
            self.zone.put_txt(order.label, value)
        await self._see_served("_acme-challenge", order, values)
        await self._see_served("_validation-persist", order, _values(challenges, persistent=True))
        await asyncio.gather(*map(self._account(order).answer, challenges))

    async def _see_served(self, below: str, order: Order, values: Sequence[str]) -> None:
        if not values:
            return
        name = f"{below}.{order.label}.{self.hq.zone}"
        why_not = await self.name_servers.wait_until_served(name, values)
        if why_not is not None:
            raise IssuanceError(_ours(f"the zone's name servers: {why_not}"))

    async def _send_csr(self, order: Order, acme_order: AcmeOrder) -> AcmeOrder:
        try:
            return (await self._account(order).finalize(acme_order, order.csr_der)).order
        except CaError as error:
            if error.fault.remedy is not Remedy.POLL:
                raise
            # orderNotReady for an order that was ready: our first finalize was received, its answer was lost.
            return acme_order

    async def _look(self, order: Order) -> AcmeOrder:
        return await self.watching.look(self._account(order), order)

    async def _advance(self, order: Order, event: OrderEvent, **changes: object) -> Order:
        def advance(transaction: Transaction) -> Order:
            if event is OrderEvent.FINALIZE:  # a certificate that was asked for cannot be taken back
                rest_or_go_on(transaction, order)
            return transaction.orders.advance(order, event, **changes)

        return await self.store.write(advance)


def put_again(transaction: Transaction, order: Order, values: Sequence[str]) -> None:
    """Store the values, unless another process works on the order by now: it may need others, or none any more."""
    reached = transaction.orders.get(order.id)
    if reached is None or (reached.state, reached.lease_by) != (order.state, order.lease_by):
        raise moved(order)
    transaction.challenges.put(order.id, order.label, values)


def _values(challenges: Sequence[Dns01Challenge], *, persistent: bool = False) -> list[str]:
    """The TXT values of one kind: those of this order, or those that stand in the zone for good."""
    return sorted({challenge.txt_value for challenge in challenges if challenge.persistent is persistent})


def _ours(reason: str) -> Fault:
    return Fault(remedy=Remedy.BACK_OFF, reason=reason, about=Whose.OURS)
