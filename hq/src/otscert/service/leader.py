"""What only one of the processes does at a time: who does it, and who goes on when that one is gone.

A duty is leased as an order is. A process that stood still may go on with its duty for a moment after another one has
taken it over, so what is done must do no harm when it is done twice; it only should not be.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass

from otscert.service.context import ALONE, Hq
from otscert.service.ports import Store
from otscert.store.errors import StoreUnavailable
from otscert.store.transaction import Transaction

HOLD_S = 15
LOOK_S = 5.0
_log = logging.getLogger(__name__)

Work = Callable[[], Coroutine[None, None, None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Leader:
    """Leads in the name of this process."""

    hq: Hq
    store: Store
    look_s: float = LOOK_S

    async def lead(self, name: str, work: Work) -> None:
        """Run `work` while the duty `name` is this process's, and stand by while it is not; for ever.

        `work` is cancelled when the duty is lost; what it raises is raised here. A process alone has every duty.
        """
        if self.hq.process == ALONE:
            await work()
            return
        task: asyncio.Task[None] | None = None
        held_until_s = 0.0
        loop = asyncio.get_running_loop()
        try:
            while True:
                asked_s = loop.time()
                taken = await self._take(name, held=task is not None)
                if taken:
                    held_until_s = asked_s + HOLD_S
                elif taken is False or loop.time() >= held_until_s:
                    await _end(task)
                    task = None
                if taken and task is None:
                    _log.info("duty.taken", extra={"duty": name})
                    task = asyncio.create_task(work())
                await self._wait(task)
        finally:
            await _end(task)
            if task is not None:
                await self._give_back(name)

    async def _take(self, name: str, *, held: bool) -> bool | None:
        """Take or keep the duty; False when it is another's, None when the store says nothing."""
        by, now_s = self.hq.process, self.hq.now_s()

        def take(transaction: Transaction) -> bool:
            return transaction.duties.take(name, by=by, now_s=now_s, until_s=now_s + HOLD_S)

        try:
            if not held:
                holder = await self.store.read(lambda transaction: transaction.duties.holder(name, now_s=now_s))
                if holder not in {None, by}:
                    return False
            return await self.store.write(take)
        except StoreUnavailable as error:
            _log.warning("duty.not_known", extra={"duty": name, "reason": str(error)})
            return None

    async def _wait(self, task: asyncio.Task[None] | None) -> None:
        if task is None:
            await asyncio.sleep(self.look_s)
            return
        await asyncio.wait({task}, timeout=self.look_s)
        if task.done():
            task.result()

    async def _give_back(self, name: str) -> None:
        try:
            await self.store.write(lambda transaction: transaction.duties.give_back(name, by=self.hq.process))
        except StoreUnavailable as error:
            _log.warning("duty.kept", extra={"duty": name, "reason": str(error), "seconds": HOLD_S})


async def _end(task: asyncio.Task[None] | None) -> None:
    if task is not None and not task.done():
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
