"""One order through a CA, step by step: what is about to happen is on disk before it happens.

Each step reads the order's state, does what that state calls for, and moves it by the table of `domain.order`. Started
again after a kill at any instruction it goes on from the state on disk. Never two certificates for one CSR: after
FINALIZING the same CA order is asked until the CA itself says that it is invalid.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from otscert.acme.certificate import Chain
from otscert.acme.fault import Fault, Remedy, of_outcome
from otscert.acme.order import Order as AcmeOrder
from otscert.acme.order import OrderStatus
from otscert.acme.polling import next_poll_s
from otscert.ca.errors import CaError
from otscert.ca.issuer import Dns01Challenge, Polled
from otscert.domain.order import TERMINAL, Order, OrderEvent, OrderState
from otscert.service.budget import Refused, spend_anyway, spend_or_wait
from otscert.service.context import Hq
from otscert.service.pace import Pace
from otscert.service.ports import Challenger, Issuer, NameServers, Signals, Store, ZonePublisher
from otscert.service.replacing import find_predecessor
from otscert.service.retirement import SUPERSEDED, ask_to_revoke
from otscert.service.standing import is_nobodys, why_order_rests
from otscert.service.topics import order_ended
from otscert.store.certificates import Certificate
from otscert.store.errors import AlreadyThere
from otscert.store.transaction import Transaction

POLL_UNTIL_S = 120.0
"""How long one run polls an order at the CA before it goes back into the queue."""
_REQUEUE_S = 5
_FIRST_QUESTION_S = 600


Reached = tuple[Order, AcmeOrder | None]


class IssuanceError(Exception):
    """This run of the order ended without the next state; `fault` says what is to be done about it."""

    def __init__(self, fault: Fault, *, restart: bool = False) -> None:
        super().__init__(fault.reason)
        self.fault = fault
        self.restart = restart
        """The CA's order cannot be used any more; the next run begins a new one."""


class OrderRests(Exception):
    """Nothing is done for this order while its box is away, quarantined or retired; the text says which."""


class OrderWaits(Exception):
    """A limit of the CA leaves no room for this order now; that is written down already. The text says which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Issuance:
    """Takes orders through one issuer. Safe for concurrent orders; one order is run by one caller at a time."""

    hq: Hq
    store: Store
    issuer: Issuer
    challenger: Challenger
    zone: ZonePublisher
    name_servers: NameServers
    signals: Signals
    paces: Mapping[OrderStatus, Pace] = field(
        default_factory=lambda: {OrderStatus.READY: Pace(), OrderStatus.VALID: Pace()}
    )

    async def run(self, order: Order) -> Order:
        """Advance an order until it has ended; raise `CaError` or `IssuanceError` where it cannot go on now.

        Raises `OrderRests` where its box is not to be served now; an order that is being finalized is always finished.
        """
        if order.state is not OrderState.FINALIZING:
            await self.store.read(lambda transaction: _rest_or_go_on(transaction, order))
        steps: dict[OrderState, Callable[[Order, AcmeOrder | None], Awaitable[Reached]]] = {
            OrderState.WAITING: self._claim,
            OrderState.CREATING: self._find_again,
            OrderState.CREATED: self._publish,
            OrderState.PUBLISHED: self._prove,
            OrderState.FINALIZING: self._finish,
        }
        seen: AcmeOrder | None = None
        while order.state not in TERMINAL:
            order, seen = await steps[order.state](order, seen)
        self.signals.publish(order_ended(order.id))
        return order

    # ---- the steps: the order as it is on disk, and the CA's view of it when this run has just seen it

    async def _claim(self, order: Order, _seen: AcmeOrder | None) -> Reached:
        def claim(transaction: Transaction) -> Order | Refused:
            _rest_or_go_on(transaction, order)
            replaces = find_predecessor(transaction, order, now_s=self.hq.now_s())
            refused = spend_or_wait(self.hq, transaction, order, replaces=replaces)
            if refused is not None:
                return refused
            return transaction.orders.advance(
                order, OrderEvent.CLAIM, reason="ordering at the CA", replaces=replaces, waits_for=None
            )

        claimed = await self.store.write(claim)
        if isinstance(claimed, Refused):
            raise OrderWaits(claimed.reason)
        return await self._open(claimed)

    async def _open(self, order: Order) -> Reached:
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
            raise IssuanceError(Fault(remedy=Remedy.BACK_OFF, reason=reason)) from error

    async def _place(self, order: Order) -> tuple[Order, AcmeOrder]:
        """Have the CA open the order, as a replacement if it takes it for one.

        A CA that opened it before HQ ended calls the certificate replaced already; asked again without `replaces`, one
        that reuses orders returns that very order.
        """
        try:
            return order, await self.issuer.open_order(order.names, profile=order.profile, replaces=order.replaces)
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
        return dropped, await self.issuer.open_order(dropped.names, profile=dropped.profile)

    async def _find_again(self, order: Order, _seen: AcmeOrder | None) -> Reached:
        """HQ ended between newOrder and the commit of its URL: look for the order before placing another."""
        found = await self.issuer.find_order(order.names)
        if found is not None and not await self._is_known(found.url):
            return await self._advance(order, OrderEvent.OPEN, url=found.url), found
        return await self._open(order)

    async def _is_known(self, url: str) -> bool:
        return await self.store.read(lambda transaction: transaction.orders.url_known(url))

    async def _publish(self, order: Order, seen: AcmeOrder | None) -> Reached:
        acme_order = seen or await self._look(order)
        challenges = await self.challenger.challenges(acme_order)

        def publish(transaction: Transaction) -> Order:
            transaction.challenges.put(order.id, order.label, [challenge.txt_value for challenge in challenges])
            return transaction.orders.advance(order, OrderEvent.PUBLISH, reason="proving control of the name")

        published = await self.store.write(publish)
        return published, await self._answer_and_wait(published, challenges)

    async def _prove(self, order: Order, seen: AcmeOrder | None) -> Reached:
        acme_order = seen or await self._look(order)
        if acme_order.status is OrderStatus.PENDING:
            # HQ ended after PUBLISHED was on disk: what was not answered by then is answered now.
            acme_order = await self._answer_and_wait(order, await self.challenger.challenges(acme_order))
        return await self._advance(order, OrderEvent.FINALIZE, reason="the CA is issuing"), acme_order

    async def _finish(self, order: Order, seen: AcmeOrder | None) -> Reached:
        """The CSR may have been sent before HQ ended: the CA's word decides whether it was received."""
        acme_order = seen or await self._look(order)
        if acme_order.status is OrderStatus.READY:
            acme_order = await self._send_csr(order, acme_order)
        if acme_order.status is not OrderStatus.VALID:
            acme_order = await self._poll(order, until=OrderStatus.VALID)
        return await self._store_certificate(order, await self.issuer.chain(acme_order)), None

    # ---- what the steps do

    async def _answer_and_wait(self, order: Order, challenges: Sequence[Dns01Challenge]) -> AcmeOrder:
        """Publish the values, see them served, tell the CA, and wait until it has looked."""
        if challenges:
            await self._answer_challenges(order, challenges)
        return await self._poll(order, until=OrderStatus.READY)

    async def _answer_challenges(self, order: Order, challenges: Sequence[Dns01Challenge]) -> None:
        values = sorted({challenge.txt_value for challenge in challenges})
        for value in values:
            self.zone.put_txt(order.label, value)
        name = f"_acme-challenge.{order.label}.{self.hq.zone}"
        why_not = await self.name_servers.wait_until_served(name, values)
        if why_not is not None:
            raise IssuanceError(Fault(remedy=Remedy.BACK_OFF, reason=f"HQ's own name servers: {why_not}"))
        await asyncio.gather(*map(self.challenger.answer, challenges))

    async def _send_csr(self, order: Order, acme_order: AcmeOrder) -> AcmeOrder:
        try:
            return (await self.issuer.finalize(acme_order, order.csr_der)).order
        except CaError as error:
            if error.fault.remedy is not Remedy.POLL:
                raise
            # orderNotReady for an order that was ready: our first finalize was received, its answer was lost.
            return acme_order

    async def _store_certificate(self, order: Order, chain: Chain) -> Order:
        _check_chain(order, chain)
        now_s = self.hq.now_s()
        sha256 = chain.leaf.sha256.hex()
        certificate = Certificate(
            sha256=sha256,
            device_id=order.device_id,
            order_id=order.id,
            issuer=order.issuer,
            serial=f"{chain.leaf.serial:x}",
            spki_sha256=chain.leaf.spki_sha256,
            not_before_s=int(chain.leaf.not_before.timestamp()),
            not_after_s=int(chain.leaf.not_after.timestamp()),
            chain_pem=chain.pem,
            issued_at_s=now_s,
            served_at_s=None,
            ari_next_poll_s=self._first_question_s(chain, now_s=now_s),
        )

        def finish(transaction: Transaction) -> tuple[Order, list[tuple[str, str]]]:
            issued = transaction.orders.advance(order, OrderEvent.ISSUE, certificate_sha256=sha256, reason="issued")
            nobodys = is_nobodys(transaction, order)
            if nobodys:  # its box was retired or has started over meanwhile: no one can use it, nobody waits for it
                transaction.certificates.add(replace(certificate, replaced=True, ari_next_poll_s=None))
                self._revoke_by_policy(transaction, order, certificate, now_s=now_s)
            else:
                transaction.certificates.add(certificate)
                transaction.devices.count_unserved(order.device_id)
            transaction.events.append(
                "order.issued",
                now_s=now_s,
                device_id=order.device_id,
                order_id=order.id,
                data={
                    "sha256": sha256,
                    "issuer": order.issuer,
                    "not_after_s": certificate.not_after_s,
                    "too_late": nobodys,
                },
            )
            return issued, transaction.challenges.drop(order.id)

        issued, values = await self.store.write(finish)
        for label, value in values:
            self.zone.drop_txt(label, value)
        return issued

    def _first_question_s(self, chain: Chain, *, now_s: int) -> int | None:
        """When the CA is first asked when to renew: soon, but not at once for all that a launch has issued."""
        if chain.leaf.ari_id is None:
            return None
        life_s = (chain.leaf.not_after - chain.leaf.not_before).total_seconds()
        return now_s + round(min(_FIRST_QUESTION_S, life_s / 100) * self.hq.jitter())

    def _revoke_by_policy(
        self, transaction: Transaction, order: Order, certificate: Certificate, *, now_s: int
    ) -> None:
        device = transaction.devices.get(order.device_id)
        model = self.hq.models.get(device.model) if device else None
        if model is None or model.revoke_replaced:
            ask_to_revoke(transaction, [certificate], reason=SUPERSEDED, now_s=now_s)

    async def _look(self, order: Order) -> AcmeOrder:
        return (await self._poll_once(order)).order

    async def _poll_once(self, order: Order) -> Polled:
        if order.url is None:
            raise IssuanceError(Fault(remedy=Remedy.BACK_OFF, reason="the order's URL is missing"), restart=True)
        try:
            polled = await self.issuer.order(order.url)
        except CaError as error:
            gone = error.fault.problem is not None and error.fault.problem.status == 404
            if gone and order.state is not OrderState.FINALIZING:
                # RFC 8555 has no error type for it, so by its type alone it would end the order for good.
                raise IssuanceError(replace(error.fault, remedy=Remedy.BACK_OFF), restart=True) from error
            # After finalize a forgotten order may have been issued: the box makes a new key rather than a second one.
            raise
        if polled.order.status is OrderStatus.INVALID:
            raise IssuanceError(of_outcome(polled.order.error), restart=True)
        return polled

    async def _poll(self, order: Order, *, until: OrderStatus) -> AcmeOrder:
        """Ask until the CA's order is as wanted: by its Retry-After, else as quickly as the CA has been lately."""
        pace = self.paces[until]
        time_s = asyncio.get_running_loop().time
        began_s = time_s()
        retry_after_s: float | None = None
        attempt = 0
        while True:
            delay_s = next_poll_s(attempt, retry_after_s, self.hq.jitter())
            if retry_after_s is None:
                delay_s = max(delay_s, pace.least_s(attempt))
            if time_s() + delay_s > began_s + POLL_UNTIL_S:
                reason = f"the CA has not said {until.value} yet"
                raise IssuanceError(Fault(remedy=Remedy.POLL, reason=reason, retry_after_s=max(delay_s, _REQUEUE_S)))
            await asyncio.sleep(delay_s)
            polled = await self._poll_once(order)
            if polled.order.status is until:
                pace.took(time_s() - began_s)
                return polled.order
            attempt, retry_after_s = attempt + 1, polled.retry_after_s

    async def _advance(self, order: Order, event: OrderEvent, **changes: object) -> Order:
        def advance(transaction: Transaction) -> Order:
            if event is OrderEvent.FINALIZE:  # a certificate that was asked for cannot be taken back
                _rest_or_go_on(transaction, order)
            return transaction.orders.advance(order, event, **changes)

        return await self.store.write(advance)


def _rest_or_go_on(transaction: Transaction, order: Order) -> None:
    reason = why_order_rests(transaction, order)
    if reason is not None:
        raise OrderRests(reason)


def _check_chain(order: Order, chain: Chain) -> None:
    """Refuse a certificate that the box could not use, before it is told that there is one."""
    csr = x509.load_der_x509_csr(order.csr_der)
    spki = csr.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if chain.leaf.spki_sha256 != hashlib.sha256(spki).digest():
        raise IssuanceError(Fault(remedy=Remedy.PERMANENT, reason="the CA's certificate is for another key"))
    if chain.leaf.names != set(order.names):
        names = ", ".join(sorted(chain.leaf.names))
        raise IssuanceError(Fault(remedy=Remedy.PERMANENT, reason=f"the CA's certificate is for other names: {names}"))
