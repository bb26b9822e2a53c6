"""Says that this process lives, knows which others do, and keeps what this one has leased.

A process that was not heard of for `GONE_S` counts as gone: its share of what they share is divided among the others,
its orders are taken over (`worker`). A process alone on its store only says so, and seldom.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

from otscert.service.context import ALONE, Hq
from otscert.service.ports import Store
from otscert.store.errors import StoreUnavailable
from otscert.store.processes import Process
from otscert.store.transaction import Transaction

BEAT_S = 5.0
ALONE_S = 60.0
"""How often a process says that it lives that nobody else waits for."""
GONE_S = 15
FORGET_S = 24 * 3600
AHEAD_S = 600
"""What was seen later than so much from now was seen by a clock that was ahead: if it lives, it says so again."""
_CLOCK_OFF_S = 3
_WORKER = "worker"
_log = logging.getLogger(__name__)


class OtherKeys(Exception):
    """Another process on this store has another pki folder; the text says which and what to do."""


async def _nothing() -> None:
    """Nothing is leased by a process that is no worker."""


def _is_shared(_workers: int) -> None:
    """Who is no worker shares nothing."""


@dataclass(slots=True, kw_only=True)
class Heartbeat:
    """`me` is this process as the others see it."""

    hq: Hq
    store: Store
    me: Process
    living: tuple[Process, ...] = ()
    """Those that were heard of lately, this one among them."""
    _told_of: set[str] = field(default_factory=set)
    _keep: Callable[[], Awaitable[None]] = _nothing
    _shared: Callable[[int], None] = _is_shared

    def take_on(self, *, keep: Callable[[], Awaitable[None]], shared: Callable[[int], None]) -> None:
        """Be a worker's heart: `keep` renews what it has leased, `shared` is told how many workers there are."""
        self._keep, self._shared = keep, shared
        self._tell()

    async def enter(self) -> None:
        """Say for the first time that this process lives; raises `OtherKeys` when it cannot work with the others."""
        now_s = self.hq.now_s()

        def enter(transaction: Transaction) -> tuple[Process, ...]:
            _forget(transaction, now_s)
            for other in transaction.processes.seen_since(now_s - GONE_S):
                if other.id != self.me.id and other.key_check != self.me.key_check:
                    raise OtherKeys(
                        f"process {other.pid} on {other.host} works with other keys: copy its pki folder (data_dir/pki)"
                        " to this machine, so that each can open what the other has stored"
                    )
            transaction.processes.put(replace(self.me, seen_s=now_s))
            return tuple(transaction.processes.seen_since(now_s - GONE_S))

        self.living = await self.store.write(enter)
        self._tell()

    async def work(self) -> None:
        """Go on saying so until cancelled."""
        every = round(ALONE_S / BEAT_S) if self.hq.process == ALONE else 1
        for beat in itertools.count(1):
            await asyncio.sleep(BEAT_S)
            try:
                await self._keep()
                if beat % every == 0:
                    await self._beat()
            except StoreUnavailable as error:
                _log.warning("process.not_heard_of", extra={"reason": str(error)})

    async def leave(self) -> None:
        """Say that it ends, so that nobody waits for it."""
        try:
            await self.store.write(lambda transaction: transaction.processes.leave(self.me.id))
        except StoreUnavailable as error:
            _log.warning("process.not_signed_off", extra={"reason": str(error)})

    async def _beat(self) -> None:
        now_s = self.hq.now_s()

        def beat(transaction: Transaction) -> tuple[Process, ...]:
            transaction.processes.put(replace(self.me, seen_s=now_s))
            heard = tuple(transaction.processes.seen_since(now_s - GONE_S))
            _forget(transaction, now_s)
            return heard

        self.living = await self.store.write(beat)
        self._tell()
        self._compare_clocks(now_s)

    def _tell(self) -> None:
        self._shared(max(1, sum(_WORKER in process.roles.split() for process in self.living)))

    def _compare_clocks(self, now_s: int) -> None:
        """Leases are times: a process whose clock is ahead believes too early that another one is gone."""
        for other in self.living:
            ahead_s = other.seen_s - now_s
            if ahead_s > _CLOCK_OFF_S and other.id not in self._told_of:
                self._told_of.add(other.id)
                hint = "let NTP set the clocks of all machines that run HQ"
                _log.warning("process.clocks_differ", extra={"host": other.host, "ahead_s": ahead_s, "hint": hint})


def _forget(transaction: Transaction, now_s: int) -> None:
    transaction.processes.forget(seen_before_s=now_s - FORGET_S, seen_after_s=now_s + AHEAD_S)
