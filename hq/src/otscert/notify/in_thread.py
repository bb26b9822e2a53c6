"""Runs blocking work of a library in a thread of its own, for so long and no longer.

The loop's own threads are few and HQ waits for them when it ends: a mail server that drips would hold all of it up.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TypeVar

T = TypeVar("T")


async def in_thread(work: Callable[[], T], *, total_s: float, name: str, end: Callable[[], None] | None = None) -> T:
    """Return what `work` returns, or raise what it raises, or `TimeoutError`.

    `end` is called when nobody waits any more, to cut short what the thread does; the thread ends with the process.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def take(hand_over: Callable[[], None]) -> None:
        if not done.done():  # nobody waits any more
            hand_over()

    def run() -> None:
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001 - handed to whoever waits
            over = partial(done.set_exception, error)
        else:
            over = partial(done.set_result, result)
        with suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(take, over)

    threading.Thread(target=run, name=name, daemon=True).start()
    try:
        async with asyncio.timeout(total_s):
            return await done
    finally:
        if not done.done() or done.cancelled():
            done.cancel()
            if end is not None:
                end()
