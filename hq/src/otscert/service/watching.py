"""Looks at an order at the CA until it is where it is wanted, or has been looked at for long enough."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from dataclasses import dataclass, field, replace

from otscert.acme.fault import Fault, Remedy, Whose, of_outcome
from otscert.acme.order import Order as AcmeOrder
from otscert.acme.order import OrderStatus
from otscert.acme.polling import next_poll_s
from otscert.ca.errors import CaError
from otscert.ca.issuer import Polled
from otscert.domain.order import Order, OrderState
from otscert.service.context import Hq
from otscert.service.outcomes import IssuanceError
from otscert.service.pace import Pace
from otscert.service.ports import Issuer

POLL_UNTIL_S = 120.0
"""How long one run polls an order at the CA before it goes back into the queue."""
_REQUEUE_S = 5
_NO_URL = Fault(remedy=Remedy.BACK_OFF, reason="the order's URL is missing", about=Whose.OURS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Watching:
    """`paces` is how quick each issuer has been lately, until an order was ready or valid."""

    hq: Hq
    paces: MutableMapping[tuple[str, OrderStatus], Pace] = field(default_factory=dict)

    async def look(self, issuer: Issuer, order: Order) -> AcmeOrder:
        return (await self._once(issuer, order)).order

    async def until(self, issuer: Issuer, order: Order, status: OrderStatus) -> AcmeOrder:
        """Ask until the CA's order is as wanted: by its Retry-After, else as quickly as the CA has been lately."""
        pace = self.paces.setdefault((order.issuer, status), Pace())
        time_s = asyncio.get_running_loop().time
        began_s = time_s()
        retry_after_s: float | None = None
        attempt = 0
        while True:
            delay_s = next_poll_s(attempt, retry_after_s, self.hq.jitter())
            if retry_after_s is None:
                delay_s = max(delay_s, pace.least_s(attempt))
            if time_s() + delay_s > began_s + POLL_UNTIL_S:
                reason = f"the CA has not said {status.value} yet"
                raise IssuanceError(Fault(remedy=Remedy.POLL, reason=reason, retry_after_s=max(delay_s, _REQUEUE_S)))
            await asyncio.sleep(delay_s)
            polled = await self._once(issuer, order)
            if polled.order.status is status:
                pace.took(time_s() - began_s)
                return polled.order
            attempt, retry_after_s = attempt + 1, polled.retry_after_s

    async def _once(self, issuer: Issuer, order: Order) -> Polled:
        if order.url is None:
            raise IssuanceError(_NO_URL, restart=True)
        try:
            polled = await issuer.order(order.url)
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
