"""`Signals` between processes that share a PostgreSQL: its LISTEN and NOTIFY, on connections of their own.

A payload is a topic and nothing else. Whoever publishes never waits: what cannot be sent now is sent when there is a
connection again, and when one was lost everybody here looks, because something may have happened meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager

import psycopg

from otscert.service.signals import LocalSignals
from otscert.service.topics import HERE
from otscert.store.errors import StoreUnavailable
from otscert.store.postgresql_connection import connect_async, describe

CHANNEL = "otscert"
_MOST_WAITING = 10_000
_AGAIN_S = 1.0
_log = logging.getLogger(__name__)


class SharedSignals:
    """For one event loop; signals of others come only while `work` runs."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._local = LocalSignals()
        self._waiting: dict[str, None] = {}
        self._something = asyncio.Event()
        self._own_pid = 0

    def publish(self, topic: str) -> None:
        self._local.publish(topic)
        # What is lost beyond this only costs time.
        if not topic.startswith(HERE) and len(self._waiting) < _MOST_WAITING:
            self._waiting[topic] = None
            self._something.set()

    def listen(self, *topics: str) -> AbstractContextManager[Callable[[float], Awaitable[None]]]:
        return self._local.listen(*topics)

    async def work(self) -> None:
        """Send and receive until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._again_and_again("sending", self._send))
            group.create_task(self._again_and_again("receiving", self._receive))

    async def _again_and_again(self, what: str, part: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await part()
            except (psycopg.Error, OSError) as error:
                reason = describe(error) if isinstance(error, psycopg.Error) else str(error)
                _log.warning("signals.lost", extra={"what": what, "reason": reason})
            except StoreUnavailable as error:
                _log.warning("signals.lost", extra={"what": what, "reason": str(error)})
            await asyncio.sleep(_AGAIN_S)

    async def _send(self) -> None:
        async with await connect_async(self._url, purpose="signals out") as connection:
            # A signal needs no disk; without this each one would wait for it.
            await connection.execute("SET synchronous_commit = off")
            self._own_pid = connection.info.backend_pid
            while True:
                await self._something.wait()
                self._something.clear()
                topics = list(self._waiting)
                if not topics:
                    continue
                await connection.execute(
                    "SELECT pg_notify(%s, topic) FROM unnest(%s::text[]) AS topic", (CHANNEL, topics)
                )
                for topic in topics:
                    self._waiting.pop(topic, None)
                if self._waiting:
                    self._something.set()

    async def _receive(self) -> None:
        async with await connect_async(self._url, purpose="signals in") as connection:
            await connection.execute(f"LISTEN {CHANNEL}".encode())
            self._local.publish_all()
            async for notice in connection.notifies():
                if notice.pid != self._own_pid:
                    self._local.publish(notice.payload)
