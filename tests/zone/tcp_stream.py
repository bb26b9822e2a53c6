"""A client's octets over TCP, in any pieces, against what the same messages get one by one. Knows no sockets.

The transport is one in memory that takes everything and never waits, so a stream of pieces is decided in microseconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from otscert.zones.tcp import Answer, TcpConnections

CLIENT = "192.0.2.99"
# The answers' own octets, the task of a transfer, and the next turn: more steps than any stream of 64 kB takes.
_TURNS = 100_000


class WrongStreamError(AssertionError):
    """A stream was answered otherwise than its messages one by one."""


class _Taking(asyncio.Transport):
    """Takes what is written; whether it may be read from and whether it is open is noted, as a real one does."""

    def __init__(self) -> None:
        super().__init__({"peername": (CLIENT, 53)})
        self.written = bytearray()
        self.reading = True
        self.closed = False

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        del high, low

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self.closed:
            raise WrongStreamError("something is written after the end")
        self.written += data

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    abort = close

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


def messages_of(stream: bytes) -> tuple[list[bytes], int]:
    """The whole messages of a stream, and how many octets of an unfinished one are left."""
    found, at = [], 0
    while len(stream) >= at + 2 and len(stream) >= (end := at + 2 + int.from_bytes(stream[at : at + 2])):
        found.append(stream[at + 2 : end])
        at = end
    return found, len(stream) - at


async def one_by_one(answer: Answer, messages: Sequence[bytes]) -> bytes:
    """What they get, each answered after the one before; the first without an answer is the end."""
    got = bytearray()
    for message in messages:
        answered = answer(message, CLIENT)
        if answered is None:
            break
        if isinstance(answered, bytes):
            got += len(answered).to_bytes(2) + answered
            continue
        async for each in answered:
            got += len(each).to_bytes(2) + each
    return bytes(got)


async def in_pieces(answer: Answer, pieces: Sequence[bytes], *, gone_after: int | None = None) -> bytes:
    """What a client gets that sends these pieces, and goes without a word after so many of them.

    Raises:
        WrongStreamError: an exception reached the loop, or more is kept than the client sent and did not finish.
    """
    loop = asyncio.get_running_loop()
    faults: list[str] = []
    loop.set_exception_handler(lambda _, context: faults.append(str(context)))
    connections = TcpConnections(answer, most=2, idle_s=60)
    connection, transport = connections.connection(), _Taking()
    connection.connection_made(transport)
    for number, piece in enumerate(pieces):
        if number == gone_after:
            break
        await _until_read(transport)
        if transport.closed:
            break
        connection.data_received(piece)
    if gone_after is None:
        await _until_read(transport)
        _, left = messages_of(b"".join(pieces))
        if not transport.closed and len(connection._received) != left:
            raise WrongStreamError(f"{len(connection._received)} octets are kept, {left} are not answered")
    connection.connection_lost(None)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    connections.close()
    if faults or len(connections):
        raise WrongStreamError(f"{len(connections)} connections are left: {faults}")
    return bytes(transport.written)


async def _until_read(transport: _Taking) -> None:
    for _ in range(_TURNS):
        if transport.reading or transport.closed:
            return
        await asyncio.sleep(0)
    raise WrongStreamError("the connection is never read again")


async def judge_stream(answer: Answer, pieces: Sequence[bytes], *, gone_after: int | None = None) -> None:
    """Raise unless pieces get what their messages get one by one, or a beginning of it by who goes in the middle."""
    wanted = await one_by_one(answer, messages_of(b"".join(pieces))[0])
    got = await in_pieces(answer, pieces, gone_after=gone_after)
    if got != wanted if gone_after is None else not wanted.startswith(got):
        raise WrongStreamError(f"{[piece.hex() for piece in pieces]}: {len(got)} octets, not {len(wanted)}")


def cut(stream: bytes, lengths: Sequence[int]) -> list[bytes]:
    """Cut into pieces of these lengths, again and again from the first; 0 counts as 1."""
    pieces, at, number = [], 0, 0
    while at < len(stream):
        size = max(1, lengths[number % len(lengths)] if lengths else len(stream))
        pieces.append(stream[at : at + size])
        at += size
        number += 1
    return pieces
