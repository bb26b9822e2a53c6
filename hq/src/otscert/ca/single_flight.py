"""One attempt for all who want the same at the same time: they share its result, and its failure too."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class SingleFlight(Generic[T]):
    """Calls `work` unless a call is under way. A lock would let those who wait for a dead CA time out one by one."""

    def __init__(self, work: Callable[[], Awaitable[T]]) -> None:
        self._work = work
        self._flight: asyncio.Task[T] | None = None

    async def __call__(self) -> T:
        """Return what `work` returns, or raise what it raises; a cancelled caller does not stop it for the others."""
        if self._flight is None or self._flight.done():
            self._flight = asyncio.create_task(self._run())
            self._flight.add_done_callback(_seen)
        return await asyncio.shield(self._flight)

    async def _run(self) -> T:
        return await self._work()


def _seen(flight: asyncio.Task[T]) -> None:
    """Mark the outcome as looked at: when every caller was cancelled, nobody is left to tell."""
    if not flight.cancelled():
        flight.exception()
