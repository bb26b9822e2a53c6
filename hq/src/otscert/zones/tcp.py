"""DNS over TCP (RFC 7766): pipelined queries, bounded in connections, time and memory.

Knows two-octet lengths and slow clients. Does not know what is asked: every message goes to the given answer function.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import NamedTuple, cast

_log = logging.getLogger(__name__)

Answer = Callable[[bytes, str], bytes | AsyncGenerator[bytes, None] | None]
"""From one message and its client's address (numeric, without port and scope) to what the client gets.

* Octets are the one answer.
* None closes the connection, after earlier answers were sent.
* An async generator gives any number of messages for this one query, as of a zone transfer (RFC 5936 2.2). They are
  sent in its order, and the client's next query is looked at when it has ended. It is asked for the next message only
  while less than `_UNREAD_BYTES` wait for the client, and every other client has its turn between two messages. While
  it thinks, the connection is never closed as idle; while the client does not read, it is, after the usual time.
  It is closed (`aclose`) when the client goes, so `finally` in it runs always. An error that it raises is logged and
  ends the connection at once, so that nobody takes half a transfer for a whole one.
"""

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
            longest = next(iter(self._waiting_since))
            next((each for each in self._waiting_since if not each.waits_for_us), longest).abort()
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
            if connection.waits_for_us:
                self.asked(connection)
            else:
                connection.abort()


class _Turn(NamedTuple):
    """What some messages came to: answers, then perhaps many more of one query, or the end."""

    answers: list[bytes]
    many: AsyncGenerator[bytes, None] | None
    goes_on: bool


class TcpConnection(asyncio.Protocol):
    """One client: whole messages in, answers out in the same order; nothing is read while it does not read.

    While whole messages wait, nothing is read either. So the end of the client's side is seen only after all that it
    asked was answered, as a client that only says that it will ask no more expects (RFC 9293 3.6); the transport's own
    way to close then is right. What a client that is gone cannot read is not sent (RFC 7766 6.2.4).
    """

    def __init__(self, connections: TcpConnections) -> None:
        self._connections = connections
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._client = ""
        self._turn: asyncio.Handle | None = None
        self._sending: asyncio.Task[None] | None = None
        self._client_reads = asyncio.Event()
        self._client_reads.set()

    @property
    def waits_for_us(self) -> bool:
        """Whether it is our turn: a client that reads gets many messages, and the next one is not made yet."""
        return self._sending is not None and self._client_reads.is_set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # create_server makes stream transports only; uvloop's are not subclasses of asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=_UNREAD_BYTES)
        # A client that is gone already has no name any more.
        self._client = (transport.get_extra_info("peername") or ("",))[0].partition("%")[0]
        self._connections.entered(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - a reset or an end, the client is gone
        self._transport = None
        if self._turn is not None:
            self._turn.cancel()
        if self._sending is not None:
            self._sending.cancel()
        self._connections.left(self)

    def data_received(self, data: bytes) -> None:
        self._received += data
        self._take_turn_soon()

    def pause_writing(self) -> None:
        self._client_reads.clear()

    def resume_writing(self) -> None:
        self._client_reads.set()
        self._take_turn_soon()

    def abort(self) -> None:
        """Close without waiting for a client that may never read."""
        self._connections.left(self)
        if self._transport is not None:
            self._transport.abort()

    def _take_turn_soon(self) -> None:
        if self._turn is None and self._sending is None:
            self._take_turn()

    def _take_turn(self) -> None:
        self._turn = None
        transport = self._transport
        if transport is None or transport.is_closing() or not self._client_reads.is_set():
            return self._hold_reading()
        turn = self._answers()
        if turn.answers:
            self._connections.asked(self)
            transport.write(b"".join(turn.answers))
        if turn.many is not None:
            self._sending = asyncio.get_running_loop().create_task(self._send(turn.many))
            self._sending.add_done_callback(self._sent)
            return self._hold_reading()
        if not turn.goes_on:
            return transport.close()
        if self._message_end() is not None:
            self._turn = asyncio.get_running_loop().call_soon(self._take_turn)
            return self._hold_reading()
        return transport.resume_reading()

    def _hold_reading(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    async def _send(self, messages: AsyncGenerator[bytes, None]) -> None:
        async with aclosing(messages):
            await self._client_reads.wait()
            async for message in messages:
                if self._transport is None:
                    return
                self._transport.write(len(message).to_bytes(2) + message)
                self._connections.asked(self)
                # A generator that never waits would keep the loop for itself.
                await asyncio.sleep(0)
                await self._client_reads.wait()

    def _sent(self, sending: asyncio.Task[None]) -> None:
        self._sending = None
        if sending.cancelled():
            return
        error = sending.exception()
        if error is None:
            self._take_turn()
        else:
            _log.error("dns.answer_broken", extra={"client": self._client}, exc_info=error)
            self.abort()

    def _answers(self) -> _Turn:
        answers: list[bytes] = []
        many: AsyncGenerator[bytes, None] | None = None
        position = 0
        goes_on = True
        while goes_on and many is None and len(answers) < _MESSAGES_PER_TURN:
            end = self._message_end(position)
            if end is None:
                break
            answer = self._connections.answer(bytes(self._received[position + 2 : end]), self._client)
            position = end
            if isinstance(answer, bytes):
                answers.append(len(answer).to_bytes(2) + answer)
            elif answer is None:
                goes_on = False
            else:
                many = answer
        del self._received[:position]
        return _Turn(answers, many, goes_on)

    def _message_end(self, position: int = 0) -> int | None:
        received = self._received
        if len(received) < position + 2:
            return None
        end = position + 2 + (received[position] << 8 | received[position + 1])
        return end if end <= len(received) else None
