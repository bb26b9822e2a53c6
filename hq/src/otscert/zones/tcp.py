"""DNS over TCP (RFC 7766): pipelined queries, bounded in connections, time and memory.

Knows two-octet lengths and slow clients. Does not know what is asked: every message goes to the given answer function.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import cast

Answer = Callable[[bytes], bytes | None]

# Messages of one connection answered before the others get their turn: about 0.3 ms.
_MESSAGES_PER_TURN = 64
# What a client that does not read may leave with us.
_UNREAD_BYTES = 65_536


class TcpConnections:
    """All open connections of a server, the one that waits longest for a whole query first.

    Nobody is kept out by idle or slow clients: when the room is full, the one that has waited longest makes place
    (RFC 7766 6.2.3 lets a server close idle connections whenever it needs to).
    """

    def __init__(self, answer: Answer, *, most: int, idle_s: float) -> None:
        self.answer = answer
        self._most = most
        self._idle_s = idle_s
        self._waiting_since: OrderedDict[TcpConnection, float] = OrderedDict()
        self._sweep: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._waiting_since)

    def connection(self) -> TcpConnection:
        """A protocol for the next client."""
        return TcpConnection(self)

    def entered(self, connection: TcpConnection) -> None:
        """Note a new client; the room may cost the longest waiting one its place."""
        if len(self._waiting_since) >= self._most:
            next(iter(self._waiting_since)).abort()
        loop = asyncio.get_running_loop()
        self._waiting_since[connection] = loop.time()
        if self._sweep is None:
            self._sweep = loop.call_later(self._idle_s, self._close_idle)

    def asked(self, connection: TcpConnection) -> None:
        """Note that a client sent a whole query and reads its answers: its time begins anew."""
        if connection in self._waiting_since:
            self._waiting_since[connection] = asyncio.get_running_loop().time()
            self._waiting_since.move_to_end(connection)

    def left(self, connection: TcpConnection) -> None:
        """Note that a client is gone."""
        self._waiting_since.pop(connection, None)

    def close(self) -> None:
        """Drop every connection now."""
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        for connection in list(self._waiting_since):
            connection.abort()

    def _close_idle(self) -> None:
        loop = asyncio.get_running_loop()
        self._sweep = None
        while self._waiting_since:
            connection, since = next(iter(self._waiting_since.items()))
            left_s = since + self._idle_s - loop.time()
            if left_s > 0:
                self._sweep = loop.call_later(left_s, self._close_idle)
                return
            connection.abort()


class TcpConnection(asyncio.Protocol):
    """One client: whole messages in, answers out in the same order; nothing is read while it does not read.

    While whole messages wait, nothing is read either. So the end of the client's side is seen only after all that it
    asked was answered, and the transport's own way to close then is right (RFC 7766 6.2.4).
    """

    def __init__(self, connections: TcpConnections) -> None:
        self._connections = connections
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._turn: asyncio.Handle | None = None
        self._client_reads = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # create_server makes stream transports only; uvloop's are not subclasses of asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=_UNREAD_BYTES)
        self._connections.entered(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - a reset or an end, the client is gone
        self._transport = None
        if self._turn is not None:
            self._turn.cancel()
        self._connections.left(self)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if self._turn is None:
            self._take_turn()

    def pause_writing(self) -> None:
        self._client_reads = False

    def resume_writing(self) -> None:
        self._client_reads = True
        if self._turn is None:
            self._take_turn()

    def abort(self) -> None:
        """Close without waiting for a client that may never read."""
        self._connections.left(self)
        if self._transport is not None:
            self._transport.abort()

    def _take_turn(self) -> None:
        self._turn = None
        transport = self._transport
        if transport is None or transport.is_closing() or not self._client_reads:
            return self._hold_reading()
        answers, understood = self._answers()
        if answers:
            self._connections.asked(self)
            transport.write(b"".join(answers))
        if not understood:
            return transport.close()
        if self._message_end() is not None:
            self._turn = asyncio.get_running_loop().call_soon(self._take_turn)
            return self._hold_reading()
        return transport.resume_reading()

    def _hold_reading(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def _answers(self) -> tuple[list[bytes], bool]:
        answers: list[bytes] = []
        position = 0
        understood = True
        while understood and len(answers) < _MESSAGES_PER_TURN:
            end = self._message_end(position)
            if end is None:
                break
            answer = self._connections.answer(bytes(self._received[position + 2 : end]))
            position = end
            if answer is None:
                understood = False
            else:
                answers.append(len(answer).to_bytes(2) + answer)
        del self._received[:position]
        return answers, understood

    def _message_end(self, position: int = 0) -> int | None:
        received = self._received
        if len(received) < position + 2:
            return None
        end = position + 2 + (received[position] << 8 | received[position + 1])
        return end if end <= len(received) else None
