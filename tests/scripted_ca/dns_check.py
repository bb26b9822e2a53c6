"""dns-01 validation for real: asks one DNS server for TXT records over UDP. It knows neither orders nor tokens.

The codec is by hand and reads no more than TXT answers: under load it runs twice per certificate.
"""

from __future__ import annotations

import asyncio
import secrets
import struct
from typing import cast

TXT, IN = 16, 1
TIMEOUT_S = 2.0
TRIES = 3
AGAIN_S = 0.1


class DnsCheckError(Exception):
    """The server gave no usable answer; the text says which rcode, or that there was none."""


class UnreachableError(DnsCheckError):
    """Nobody listens at the server's address."""


class TxtResolver(asyncio.DatagramProtocol):
    """One UDP socket towards one server, many questions at once."""

    def __init__(self) -> None:
        self._transport: asyncio.DatagramTransport | None = None
        self._closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._asked: dict[int, tuple[bytes, asyncio.Future[list[bytes]]]] = {}

    @classmethod
    async def open(cls, host: str, port: int) -> TxtResolver:
        loop = asyncio.get_running_loop()
        _, resolver = await loop.create_datagram_endpoint(cls, remote_addr=(host, port))
        return resolver

    async def aclose(self) -> None:
        if self._transport is not None:
            self._transport.close()
            await self._closed

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._closed.set_result(None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)  # which asyncio's own is not a subclass of

    async def txt(self, name: str, *, patience_s: float = 0.0) -> list[bytes]:
        """Return the TXT values at `name`, none for NXDOMAIN; raises DnsCheckError without an answer.

        A server that cannot be reached is asked again for `patience_s`.
        """
        time_s = asyncio.get_running_loop().time
        until_s = time_s() + patience_s
        tries = 0
        while tries < TRIES:
            try:
                async with asyncio.timeout(TIMEOUT_S):
                    return await self._ask(name)
            except TimeoutError:
                tries += 1
            except UnreachableError:
                if time_s() >= until_s:
                    raise
                await asyncio.sleep(AGAIN_S)
        raise DnsCheckError(f"no answer for {name} TXT")

    async def _ask(self, name: str) -> list[bytes]:
        assert self._transport is not None
        number = secrets.randbelow(65536)
        while number in self._asked:
            number = secrets.randbelow(65536)
        labels = b"".join(bytes([len(label)]) + label.encode("ascii") for label in name.rstrip(".").split("."))
        question = labels + b"\0" + struct.pack("!HH", TXT, IN)
        future: asyncio.Future[list[bytes]] = asyncio.get_running_loop().create_future()
        self._asked[number] = (question, future)
        try:
            self._transport.sendto(struct.pack("!6H", number, 0, 1, 0, 0, 0) + question)
            return await future
        finally:
            del self._asked[number]

    def datagram_received(self, data: bytes, addr: tuple[str | object, int]) -> None:
        del addr
        number = int.from_bytes(data[:2], "big")
        question, future = self._asked.get(number, (b"", None))
        if future is None or future.done() or data[12 : 12 + len(question)].lower() != question.lower():
            return
        try:
            future.set_result(_txt_values(data, len(question)))
        except DnsCheckError as error:
            future.set_exception(error)
        except (IndexError, struct.error):
            future.set_exception(DnsCheckError("the answer is cut off"))

    def error_received(self, exc: Exception) -> None:
        for _, future in self._asked.values():
            if not future.done():
                future.set_exception(UnreachableError(f"the server cannot be reached: {exc}"))


def _txt_values(data: bytes, question_bytes: int) -> list[bytes]:
    flags, _, answers = struct.unpack_from("!3H", data, 2)
    rcode = flags & 15
    if rcode not in {0, 3} or flags & 0x0200:
        raise DnsCheckError(f"rcode {rcode}" if rcode else "truncated: this CA asks over UDP only")
    offset, values = 12 + question_bytes, []
    for _ in range(answers):
        offset = _after_name(data, offset)
        kind, _, _, size = struct.unpack_from("!HHIH", data, offset)
        offset += 10
        if kind == TXT:
            values.append(_joined(data[offset : offset + size]))
        offset += size
    return values


def _after_name(data: bytes, offset: int) -> int:
    while (length := data[offset]) != 0:
        if length >= 0xC0:
            return offset + 2
        offset += length + 1
    return offset + 1


def _joined(rdata: bytes) -> bytes:
    value, offset = b"", 0
    while offset < len(rdata):
        value += rdata[offset + 1 : offset + 1 + rdata[offset]]
        offset += rdata[offset] + 1
    return value
