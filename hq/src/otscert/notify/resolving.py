"""Looks host names up in a few threads of its own.

A name whose name servers are silent holds a thread for half a minute, however soon whoever asked has gone. In the
loop's own threads, which are few, the CA's name would wait behind it: one silent webhook would stop every certificate.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

AT_ONCE = 4
LookUp = Callable[[str, int, int, int, int, int], list[Any]]
"""As `socket.getaddrinfo`: host, port, family, type, protocol, flags."""


class OwnThreads(AbstractResolver):
    """For one event loop. The threads end with the process: nobody waits for them."""

    def __init__(self, look_up: LookUp = socket.getaddrinfo) -> None:
        self._look_up = look_up
        self._free = asyncio.Semaphore(AT_ONCE)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the host's addresses; raise `OSError`."""
        await self._free.acquire()  # given back by the thread, not by whoever is tired of waiting for it
        loop = asyncio.get_running_loop()
        found: asyncio.Future[list[Any]] = loop.create_future()

        def work() -> None:
            infos, problem = [], None
            try:
                infos = self._look_up(host, port, family, socket.SOCK_STREAM, 0, socket.AI_ADDRCONFIG)
            except Exception as error:  # noqa: BLE001 - handed to whoever asked; the thread's place must come back
                problem = error
            with suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(self._take, found, infos, problem)

        try:
            threading.Thread(target=work, name="look up", daemon=True).start()
        except RuntimeError as error:
            self._free.release()
            raise OSError(f"no thread to look {host} up") from error
        return [
            ResolveResult(
                hostname=host,
                host=address[0],
                port=address[1],
                family=family,
                proto=protocol,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for family, _, protocol, _, address in await found
        ]

    async def close(self) -> None:
        """Nothing is to be closed."""

    def _take(self, found: asyncio.Future[list[Any]], infos: list[Any], problem: Exception | None) -> None:
        self._free.release()
        if found.done():  # cancelled: the time limit was over
            return
        if problem is None:
            found.set_result(infos)
        else:
            found.set_exception(problem)
