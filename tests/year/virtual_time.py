"""An event loop whose time jumps to the next timer as soon as nothing is left to do. Nothing in it waits.

What others run in threads (the store's commits) runs at once, and takes no virtual time.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, TypeVarTuple, Unpack

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class NothingToDo(Exception):
    """No timer is set and nobody works: who waits would wait for ever."""


class _JumpingSelector(selectors.DefaultSelector):
    """Asks for events without waiting, and moves the loop's clock instead."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = super().select(0)
        if events or (timeout is not None and timeout <= 0):
            return events
        if timeout is None:  # no timer is set
            raise NothingToDo
        self.loop.now += timeout
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """`now` is what `time()` says: virtual seconds since the loop was made."""

    def __init__(self) -> None:
        selector = _JumpingSelector()
        selector.loop = self
        self.now = 0.0
        super().__init__(selector)
        # A year has so many seconds that a sum of timers is a few nanoseconds off.
        self._clock_resolution = 1e-6

    def time(self) -> float:
        return self.now

    def run_in_executor(
        self,
        executor: Any,  # noqa: ARG002
        func: Callable[[Unpack[Ts]], T],
        *args: *Ts,
    ) -> asyncio.Future[T]:
        future: asyncio.Future[T] = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 - it is the caller's, as from a thread
            future.set_exception(error)
        return future

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 - as its base
        """There is none."""


class VirtualClock:
    """Wall-clock time of a loop that began at `start_s`."""

    def __init__(self, loop: VirtualLoop, *, start_s: int) -> None:
        self._loop, self._start_s = loop, start_s

    def now_ms(self) -> int:
        return self._start_s * 1000 + int(self._loop.time() * 1000)

    def now_s(self) -> int:
        return self.now_ms() // 1000


def run_virtually(main: Callable[[VirtualLoop], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine to its end on a loop of its own."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, VirtualLoop)
        return runner.run(main(loop))
