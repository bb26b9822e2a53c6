"""The maker's own server, which a webhook calls: real HTTPS on loopback, and every way to answer wrongly.

A behaviour gets the question and the stream; what it writes goes out as it is.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trustme

HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One question as it arrived; header names in lower case."""

    line: str
    headers: dict[str, str]
    body: bytes

    @property
    def members(self) -> dict[str, Any]:
        members: dict[str, Any] = json.loads(self.body)
        return members

    @property
    def key(self) -> str:
        return self.headers["idempotency-key"]


Behaviour = Callable[[Asked, asyncio.StreamWriter], Awaitable[None]]


@dataclass(slots=True, kw_only=True)
class Maker:
    """The server while it runs; `behaviour` may be changed at any time."""

    behaviour: Behaviour
    port: int = 0
    trust_file: Path = Path()
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0
    open_now: int = 0
    most_open: int = 0

    @property
    def url(self) -> str:
        return f"https://{HOST}:{self.port}/admit"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open_now += 1
        self.most_open = max(self.most_open, self.open_now)
        try:
            asked = await _read(reader)
            self.asked.append(asked)
            await self.behaviour(asked, writer)
            await writer.drain()
        except (ConnectionError, ssl.SSLError, asyncio.IncompleteReadError):
            pass  # HQ has hung up, as it should on most of these behaviours
        finally:
            self.open_now -= 1
            writer.transport.abort()


async def _read(reader: asyncio.StreamReader) -> Asked:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    body = await reader.readexactly(int(headers["content-length"]))
    return Asked(line=head[0], headers=headers, body=body)


@asynccontextmanager
async def running_maker(behaviour: Behaviour, folder: Path, *, host: str = HOST) -> AsyncIterator[Maker]:
    """Run the server; `trust_file` holds the root of its certificate, which names `host`."""
    ca = trustme.CA()
    trust_file = folder / f"maker-{id(ca)}.pem"
    ca.cert_pem.write_to_path(str(trust_file))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert(host).configure_cert(context)
    maker = Maker(behaviour=behaviour, trust_file=trust_file)
    tasks: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with suppress(asyncio.CancelledError):
            await maker.serve(reader, writer)
        tasks.discard(task)

    server = await asyncio.start_server(accept, HOST, 0, ssl=context)
    maker.port = server.sockets[0].getsockname()[1]
    try:
        yield maker
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def http(status: int, body: bytes, **headers: str) -> bytes:
    more = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status} Some Words\r\n{more}Content-Length: {len(body)}\r\n\r\n".encode() + body


def answers(members: Any, *, status: int = 200) -> Behaviour:
    """Answer with this JSON."""
    return sends(http(status, json.dumps(members).encode()))


def sends(whole: bytes) -> Behaviour:
    """Send these bytes, head and all, and close."""

    async def behave(_: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(whole)

    return behave


async def hangs(_: Asked, _writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def closes(_: Asked, _writer: asyncio.StreamWriter) -> None:
    pass


async def drips_head(_: Asked, writer: asyncio.StreamWriter) -> None:
    """A header line a tenth of a second, without end."""
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"X-More: yes\r\n")
        await writer.drain()
        await asyncio.sleep(0.1)


async def drips_body(_: Asked, writer: asyncio.StreamWriter) -> None:
    """What would be a good answer, one byte at a time."""
    body = b" " * 1000 + b'{"decision":"allow"}'
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body))
    for byte in body:
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(0.1)


async def floods(_: Asked, writer: asyncio.StreamWriter) -> None:
    """More than anybody wants to read."""
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        writer.write(b" " * 65_536)
        await writer.drain()
