"""What stands in front of the zone: from a message and its client to what the client gets.

Knows who asks and over which transport. Does not know sockets, nor what the zone holds.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from typing import Protocol

from otscert.zones import wire

Signed = Callable[[bytes, str, int | None], bytes | AsyncGenerator[bytes, None] | None]
"""Answers queries that carry a TSIG record (RFC 8945), whatever they ask: from the message, the client's address
(numeric) and the size limit in octets (None: TCP) to what the client gets, as `tcp.Answer` says.

It gets queries (opcode 0) with one question and a TSIG as their last record, nothing else, and each of them: what is
not signed is answered by the zone itself, which refuses transfers. Over UDP a generator is not allowed; None is silence
there. No rate limit is in front of it: an answer to a wrong signature must not be larger than the query.
"""


class Answer(Protocol):
    """The zone's own answer (`Responder.answer`)."""

    def __call__(self, query: bytes, *, size_limit: int | None) -> bytes | None: ...


class Front:
    """Gives every message to whom it is for."""

    def __init__(self, answer: Answer, *, signed: Signed | None = None) -> None:
        self._answer = answer
        self._signed = signed

    def datagram(self, query: bytes, client: str) -> bytes | None:
        """Answer one message that came over UDP."""
        if self._signed is not None and wire.is_signed(query):
            answer = self._signed(query, client, wire.EDNS_UDP_BYTES)
            if isinstance(answer, AsyncGenerator):
                raise TypeError("an answer over UDP is one message")
            return answer
        return self._answer(query, size_limit=wire.EDNS_UDP_BYTES)

    def message(self, query: bytes, client: str) -> bytes | AsyncGenerator[bytes, None] | None:
        """Answer one message that came over TCP, as `tcp.Answer` says."""
        if self._signed is not None and wire.is_signed(query):
            return self._signed(query, client, None)
        return self._answer(query, size_limit=None)
