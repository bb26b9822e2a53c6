"""`Signals` within one process: events by topic."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress


class LocalSignals:
    """For one event loop. A topic costs memory only while somebody listens to it."""

    def __init__(self) -> None:
        self._listening: defaultdict[str, set[asyncio.Event]] = defaultdict(set)

    def publish(self, topic: str) -> None:
        for event in self._listening.get(topic, ()):
            event.set()

    def publish_all(self) -> None:
        """Let everybody look who listens: what happened is not known."""
        for events in self._listening.values():
            for event in events:
                event.set()

    @contextmanager
    def listen(self, *topics: str) -> Iterator[Callable[[float], Awaitable[None]]]:
        event = asyncio.Event()
        for topic in topics:
            self._listening[topic].add(event)

        async def heard(timeout_s: float) -> None:
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await event.wait()
            event.clear()

        try:
            yield heard
        finally:
            for topic in topics:
                self._listening[topic].discard(event)
                if not self._listening[topic]:
                    del self._listening[topic]
