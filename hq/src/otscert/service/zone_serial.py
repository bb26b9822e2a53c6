"""The serial of the zone over restarts and processes: a secondary that saw a higher one takes nothing any more.

Two ways (docs/decisions/0034). A process that has its store alone counts changes itself and keeps a ceiling in the
store that its serial never passes, raised before it is reached. Processes that share a store show a base, kept in the
store, plus the number of the change that they hold. Knows no records.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from otscert.service.ports import Clock, Store
from otscert.store.errors import StoreUnavailable
from otscert.store.transaction import Transaction
from otscert.store.zone_places import SERIAL, SERIAL_BASE
from otscert.zones.serials import newest

STEP = 10_000
_ALL = 2**32
_RETRY_S = 1.0
_log = logging.getLogger(__name__)


class NumberedZone(Protocol):
    """A zone whose serial stops at a ceiling; changes beyond it are answered, and numbered once it is raised."""

    @property
    def serial(self) -> int: ...

    @property
    def serials_left(self) -> int: ...

    def number(self, serial: int) -> None: ...

    def allow_serials(self, ceiling: int) -> None: ...

    def on_move(self, listener: Callable[[], None]) -> None: ...


@dataclass(slots=True, kw_only=True)
class SerialKeeper:
    """Keeps the ceiling ahead of the zone's serial; for a process that has its store alone."""

    store: Store
    zone: NumberedZone
    clock: Clock
    step: int = STEP
    _low: asyncio.Event = field(default_factory=asyncio.Event)

    async def start(self) -> None:
        """Give the zone a serial higher than any that it ever had."""
        now_s = self.clock.now_ms() // 1000 % _ALL

        def reserve(transaction: Transaction) -> int:
            ceiling = transaction.zone_places.get(SERIAL)
            first = now_s if ceiling is None else newest((ceiling + 1) % _ALL, now_s)
            transaction.zone_places.put(SERIAL, (first + self.step) % _ALL)
            return first

        first = await self.store.write(reserve)
        self.zone.number(first)
        self.zone.allow_serials((first + self.step) % _ALL)
        self.zone.on_move(self._look)

    async def work(self) -> None:
        """Raise the ceiling whenever half of the step is used up, until cancelled."""
        while True:
            await self._low.wait()
            self._low.clear()
            await self._raise()

    def _look(self) -> None:
        if self.zone.serials_left <= self.step // 2:
            self._low.set()

    async def _raise(self) -> None:
        ceiling = (self.zone.serial + self.step) % _ALL
        while True:
            try:
                await self.store.write(lambda transaction: transaction.zone_places.put(SERIAL, ceiling))
            except StoreUnavailable as error:
                left = self.zone.serials_left
                _log.warning("zone.serial_not_kept", extra={"reason": str(error), "left": left})
                await asyncio.sleep(_RETRY_S)
            else:
                self.zone.allow_serials(ceiling)
                return


async def raised_base(store: Store, *, now_s: int) -> int:
    """Raise the base of the serials of all processes, and return it: the zone is to be taken whole.

    It is raised so far that the serial is at least the time, so that also a store that was restored goes ahead.
    """

    def work(transaction: Transaction) -> int:
        places, last = transaction.zone_places, transaction.zone_changes.last()
        by_time = (now_s - last) % _ALL
        base = places.get(SERIAL_BASE)
        if base is None:
            # What SQLite had, when the store was moved from there.
            ceiling = places.get(SERIAL)
            base = by_time - 1 if ceiling is None else ceiling - last
        base = newest((base + 1) % _ALL, by_time)
        places.put(SERIAL_BASE, base)
        return base

    return await store.write(work)
