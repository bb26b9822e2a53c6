"""HTTP/1.1 on asyncio, as little as an ACME server needs: keep-alive, Content-Length, nothing chunked.

Written by hand because it carries load figures (a web framework costs several times as much per request) and because
it has to misbehave: answers may be late, cut off or without end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass

MAX_HEAD_BYTES = 16 * 1024
MAX_BODY_BYTES = 256 * 1024
ENDLESS_CHUNK = b"x" * 65536
DRIP_S = 0.02


@dataclass(slots=True, kw_only=True)
class Request:
    """One request; `headers` have lower-case names."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(slots=True, kw_only=True)
class Response:
    """One answer, which may misbehave.

    `delay_s` holds it back; `cut` closes the connection in its middle, with `silent` before its first byte, `headless`
    right after its headers; `endless` never ends its body; `drip` sends it a byte at a time.
    """

    status: int = 200
    headers: Iterable[tuple[str, str]] = ()
    body: bytes = b""
    delay_s: float = 0.0
    cut: bool = False
    silent: bool = False
    headless: bool = False
    endless: bool = False
    drip: bool = False

    def encode(self, *, head_only: bool) -> bytes:
        length = () if self.endless else (f"Content-Length: {len(self.body)}",)
        lines = [f"HTTP/1.1 {self.status} -", *(f"{name}: {value}" for name, value in self.headers), *length, "", ""]
        head = "\r\n".join(lines).encode("latin-1")
        return head if head_only else head + self.body


Handler = Callable[[Request], Response]


class HttpProtocol(asyncio.Protocol):
    """One connection: requests are answered one after the other, in order."""

    def __init__(self, handler: Handler, connections: set[HttpProtocol]) -> None:
        self._handler = handler
        self._connections = connections
        self._buffer = b""
        self._transport: asyncio.Transport | None = None
        self._later: asyncio.TimerHandle | None = None
        self._closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._connections.add(self)

    async def abort(self) -> None:
        """Close the connection at once and wait until it is."""
        if self._transport is not None:
            self._transport.abort()
            await self._closed

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        if self._later is not None:
            self._later.cancel()
        self._connections.discard(self)
        self._transport = None
        self._closed.set_result(None)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._serve()

    def _serve(self) -> None:
        while self._later is None and self._transport is not None:
            request = self._next_request()
            if request is None:
                return
            response = self._handler(request)
            if response.delay_s > 0:
                self._later = asyncio.get_running_loop().call_later(response.delay_s, self._resume, request, response)
            else:
                self._send(request, response)

    def _resume(self, request: Request, response: Response) -> None:
        self._later = None
        self._send(request, response)
        self._serve()

    def _send(self, request: Request, response: Response) -> None:
        if self._transport is None:
            return
        data = response.encode(head_only=request.method == "HEAD")
        if response.headless:
            self._transport.write(data[: data.find(b"\r\n\r\n") + 4])
            self._transport.close()
        elif response.cut:
            self._transport.write(b"" if response.silent else data[: len(data) // 2])
            self._transport.close()
        elif response.drip:
            self._drip(data)
        else:
            self._transport.write(data)
            if response.endless:
                self._flood()

    def _drip(self, data: bytes) -> None:
        self._later = None
        if self._transport is not None and data:
            self._transport.write(data[:1])
            self._later = asyncio.get_running_loop().call_later(DRIP_S, self._drip, data[1:])
        elif self._transport is not None:
            self._serve()

    def _flood(self) -> None:
        if self._transport is not None:
            self._transport.write(ENDLESS_CHUNK)
            self._later = asyncio.get_running_loop().call_later(0.001, self._flood)

    def _next_request(self) -> Request | None:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            self._refuse_when(len(self._buffer) > MAX_HEAD_BYTES)
            return None
        start_line, *fields = self._buffer[:end].decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
        length = headers.get("content-length", "0")
        size_bytes = int(length) if length.isdigit() and len(length) < 10 else MAX_BODY_BYTES + 1
        words = start_line.split(" ")
        if self._refuse_when(size_bytes > MAX_BODY_BYTES or len(words) != 3 or "transfer-encoding" in headers):
            return None
        stop = end + 4 + size_bytes
        if len(self._buffer) < stop:
            return None
        body, self._buffer = self._buffer[end + 4 : stop], self._buffer[stop:]
        return Request(method=words[0], path=words[1], headers=headers, body=body)

    def _refuse_when(self, bad: bool) -> bool:  # noqa: FBT001 - reads as the sentence that it is
        if bad and self._transport is not None:
            self._transport.write(Response(status=400, headers=[("Connection", "close")]).encode(head_only=False))
            self._transport.close()
        return bad
