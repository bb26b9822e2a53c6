"""Notices that HQ's clock was set back while it runs, and lets go on what was put off by the wrong time.

It knows neither why nor which clock was right. What a clock that was ahead has planned lies as far in the future as
that clock was wrong; no back-off reaches there.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from otscert.domain.order import BACK_OFF_S
from otscert.service.context import Hq
from otscert.service.ports import Store
from otscert.store.transaction import Transaction

STEP_S = 60
"""A smaller correction delays nothing that anybody would notice."""
_LONGEST_BACK_OFF_S = round(max(BACK_OFF_S) * 4 / 3)
_log = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class ClockWatch:
    """Compares HQ's clock with the loop's, which nobody can set; `look` is called every few seconds."""

    hq: Hq
    store: Store
    _ahead_s: float | None = None

    async def look(self) -> None:
        """Bring back what waits longer than any back-off, if the clock was set back since the last look.

        One that waits so long because its CA has said so asks it once too early. Raises `StoreUnavailable`; the next
        look then tries again.
        """
        now_s = self.hq.now_s()
        ahead_s = now_s - asyncio.get_running_loop().time()
        before_s = ahead_s if self._ahead_s is None else self._ahead_s
        if before_s - ahead_s > STEP_S:
            from_s = now_s + _LONGEST_BACK_OFF_S

            def bring_back(transaction: Transaction) -> tuple[int, int]:
                return (
                    transaction.orders.bring_back(from_s=from_s, now_s=now_s),
                    transaction.revocations.bring_back(from_s=from_s, now_s=now_s),
                )

            orders, revocations = await self.store.write(bring_back)
            _log.warning(
                "clock.set_back",
                extra={
                    "seconds": round(before_s - ahead_s),
                    "orders_brought_back": orders,
                    "revocations_brought_back": revocations,
                },
            )
        self._ahead_s = ahead_s
