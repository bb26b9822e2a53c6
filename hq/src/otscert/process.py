"""HQ as a Unix process: one on a data folder, signals, work beside the main one, memory. Knows nothing of boxes."""

from __future__ import annotations

import asyncio
import fcntl
import gc
import logging
import os
import signal
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

_log = logging.getLogger(__name__)


MOST_BESIDE = 64
"""HQ processes on one data folder; far more than one machine has use for."""


class CannotStart(Exception):
    """HQ cannot start; the text says why and what to do."""


@asynccontextmanager
async def background(*works: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Run coroutines beside the block; one that ends by an error ends HQ, loudly."""
    tasks = [asyncio.create_task(work) for work in works]
    for task in tasks:
        task.add_done_callback(_end_on_error)
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _end_on_error(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        _log.critical("hq.failed", exc_info=task.exception())
        os.kill(os.getpid(), signal.SIGTERM)


def spare_the_collector() -> None:
    """Take what start-up made out of the cyclic collector's sight, and let it look less often.

    Measured in the first-boot wave: a tenth of HQ's CPU went into looking at modules and classes that never go away.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def listen_to_signals() -> tuple[asyncio.Event, asyncio.Event]:
    """Two events, from now on: SIGTERM and SIGINT set the first, SIGHUP the second."""
    told, told_to_read = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    loop.add_signal_handler(signal.SIGHUP, told_to_read.set)
    return told, told_to_read


@contextmanager
def only_one(data_dir: Path, number: int = 1) -> Iterator[None]:
    """Hold the data folder's lock: two HQs on one SQLite file would each believe that the orders are theirs."""
    try:
        descriptor = os.open(lock_file(data_dir, number), os.O_CREAT | os.O_RDWR, 0o600)
    except OSError as error:
        raise CannotStart(
            f"the data folder {data_dir} cannot be written ({error.strerror}): give it to the user that runs HQ"
            " (chown -R), or make one with otscert init"
        ) from error
    try:
        _lock(descriptor, data_dir)
        # For those who have something to tell it; only while the lock is held does the number mean anything.
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def one_of_several(data_dir: Path) -> Iterator[None]:
    """Hold the first free lock of the data folder, for an HQ that may run beside others: its orders are leased."""
    for number in range(1, MOST_BESIDE + 1):
        try:
            with only_one(data_dir, number):
                yield
                return
        except _Taken:
            continue
    raise CannotStart(f"{MOST_BESIDE} HQ processes are running on {data_dir} already")


def lock_file(data_dir: Path, number: int = 1) -> Path:
    """Where a running HQ has put its process id; HQs that run beside each other have one each."""
    return data_dir / ("hq.lock" if number == 1 else f"hq-{number}.lock")


class _Taken(CannotStart):
    """Somebody else has this lock."""


def _lock(descriptor: int, data_dir: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise _Taken(f"another HQ is running on {data_dir}") from None
