"""What `otscert zone check` puts into the store is shown by a zone that no rows fill: one whose process is alone.

Where processes share a store, `zone_following` shows it as everything else. Here the one process looks every second:
a command has no other way to it than the store.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field

from otscert.domain.zone_checks import LABEL
from otscert.service.ports import Store, ZonePublisher
from otscert.store.errors import StoreUnavailable

LOOK_S = 1.0
_log = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class CheckShower:
    """`look` once before anything else is done with the zone: what it finds then stays known, to be taken out later."""

    store: Store
    zone: ZonePublisher
    _shown: set[str] = field(default_factory=set)

    async def work(self) -> None:
        """Keep up until cancelled."""
        while True:
            try:
                await self.look()
            except StoreUnavailable as error:
                _log.warning("zone.not_followed", extra={"reason": str(error)})
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        """Show what the store has now, and no more what it had."""
        wanted = set(await self.store.read(lambda transaction: transaction.challenges.of_checks()))
        for value in sorted(self._shown - wanted):
            self.zone.drop_txt(LABEL, value)
        for value in sorted(wanted):
            self.zone.put_txt(LABEL, value)
        self._shown = wanted
