"""What stands in front of the zone: signatures, cookies and the rate limit, then the zone's own answer.

Knows who asks and over which transport. Does not know sockets, nor what the zone holds.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable
from typing import NamedTuple

from otscert.zones import wire
from otscert.zones.cookies import Cookies, Standing
from otscert.zones.counters import AnswerCounters
from otscert.zones.errors import MalformedMessageError
from otscert.zones.rate import RateLimit
from otscert.zones.responder import Responder

Signed = Callable[[bytes, str, int | None], bytes | AsyncGenerator[bytes, None] | None]
"""Answers queries that carry a TSIG record (RFC 8945), whatever they ask: from the message, the client's address
(numeric) and the size limit in octets (None: TCP) to what the client gets, as `tcp.Answer` says.

It gets queries (opcode 0) with one question and a TSIG as their last record, nothing else, and each of them: what is
not signed is answered by the zone itself, which refuses transfers. Over UDP a generator is not allowed; None is silence
there. The rate limit is in front of it over UDP: a wrong signature costs more to check than any other question, and
who floods us with them never gets as far. An answer to one must not be larger than the query.
"""

# From the octet that ends the question's name to the end of a plain OPT: type, class, and a record without options.
_PLAIN_REST_BYTES = 1 + 4 + 11
# An answer that is larger than so many times its question costs a network without a cookie as much as ten others.
_LARGE = 3
_LARGE_COSTS = 10
# Signed datagrams looked at in a second, from whichever networks: at 0.1 ms each, a tenth of a core. Secondaries ask
# for a SOA now and then.
_SIGNED_PER_S = 1_000
_EVERYBODY = "0.0.0.0"


class Front:
    """Gives every message to whom it is for. `clock` tells seconds since 1970; without `limit` there is none."""

    def __init__(
        self,
        responder: Responder,
        counters: AnswerCounters,
        cookies: Cookies,
        *,
        limit: RateLimit | None = None,
        signed: Signed | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._responder = responder
        self._answer = responder.answer
        self._counters = counters
        self._cookies = cookies
        self._limit = limit
        self._signed = signed
        self._signed_limit = RateLimit(_SIGNED_PER_S)
        self._clock = clock

    def datagram(self, query: bytes, client: str) -> bytes | None:
        """Answer one message that came over UDP."""
        if len(query) > query.find(0, 12) + _PLAIN_REST_BYTES:
            return self._datagram_with_more(query, client)
        return self._limited(query, client)

    def message(self, query: bytes, client: str) -> bytes | AsyncGenerator[bytes, None] | None:
        """Answer one message that came over TCP, as `tcp.Answer` says."""
        self._counters.tcp += 1
        if len(query) > query.find(0, 12) + _PLAIN_REST_BYTES:
            if self._signed is not None and wire.is_signed(query):
                return self._signed(query, client, None)
            shown = _cookie_shown(query)
            if shown is not None:
                return self._with_cookie(query, shown, client, None)
        return self._answer(query, size_limit=None)

    def _limited(self, query: bytes, client: str) -> bytes | None:
        if self._limit is None:
            return self._answer(query, size_limit=wire.EDNS_UDP_BYTES)
        left = self._limit.left(client, self._clock())
        left[0] = remaining = left[0] - 1
        if remaining < 0:
            self._counters.limited += 1
            return self._responder.truncated(query)
        answer = self._answer(query, size_limit=wire.EDNS_UDP_BYTES)
        if answer is not None and len(answer) > _LARGE * len(query):
            left[0] -= _LARGE_COSTS - 1
        return answer

    def _datagram_with_more(self, query: bytes, client: str) -> bytes | None:
        if self._signed is not None and wire.is_signed(query):
            return self._limited_signed(self._signed, query, client)
        shown = _cookie_shown(query)
        if shown is None:
            return self._limited(query, client)
        return self._with_cookie(query, shown, client, wire.EDNS_UDP_BYTES)

    def _limited_signed(self, signed: Signed, query: bytes, client: str) -> bytes | None:
        if self._limit is not None:
            now_s = self._clock()
            for left in (self._limit.left(client, now_s), self._signed_limit.left(_EVERYBODY, now_s)):
                left[0] -= 1
                if left[0] < 0:
                    # Without a signature, for to check one is what is to be saved. A secondary goes on over TCP, where
                    # nobody can ask in its name.
                    self._counters.limited += 1
                    return self._responder.truncated(query)
        answer = signed(query, client, wire.EDNS_UDP_BYTES)
        if isinstance(answer, AsyncGenerator):
            raise TypeError("an answer over UDP is one message")
        return answer

    def _with_cookie(self, query: bytes, shown: _Shown, client: str, size_limit: int | None) -> bytes | None:
        now_s = int(self._clock())
        standing, cookie = self._cookies.judge(shown.edns.cookie, client, now_s)
        self._counters.cookies[standing] += 1
        left = None
        if self._limit is not None and size_limit is not None and standing is not Standing.VALID:
            left = self._limit.left(client, now_s)
            left[0] -= 1
            if left[0] < 0:
                self._counters.limited += 1
                # RFC 7873 5.2.3 and 5.2.4: BADCOOKIE carries a good cookie, with which the client may ask again over
                # UDP; TC says to those who do not know BADCOOKIE that TCP is open to them.
                return _bare(query, shown, cookie, wire.BADCOOKIE, tc=True)
        if not shown.question_end:
            # RFC 7873 5.4: without a question it asks for a cookie, or whether the one it has is good.
            return _bare(query, shown, cookie, wire.BADCOOKIE if standing is Standing.BAD else wire.NOERROR, tc=False)
        plain = _without_options(query, shown)
        answer = self._answer(plain, size_limit=size_limit)
        if answer is None:
            return None
        if size_limit is not None and len(answer) + wire.COOKIE_OPTION_BYTES > _limit(shown.edns, size_limit):
            self._counters.truncated += 1
            return _bare(query, shown, cookie, wire.NOERROR, tc=True)
        answer = wire.with_cookie(answer, cookie)
        if left is not None and len(answer) > _LARGE * len(query):
            left[0] -= _LARGE_COSTS - 1
        return answer


class _Shown(NamedTuple):
    """A query's OPT record with its cookie, and where its question ends; 0: it has none."""

    question_end: int
    edns: wire.Edns


def _cookie_shown(query: bytes) -> _Shown | None:
    """None also for what cannot be read: the zone's answer to it is a format error."""
    if len(query) < wire.HEADER_BYTES or query[2] & (wire.QR_BIT | wire.OPCODE_MASK):
        return None
    try:
        if query[4:6] == b"\0\0":
            edns, end = wire.parse_bare_edns(query), 0
        else:
            question = wire.parse_question(query)
            edns, end = wire.parse_edns(query, question), question.end
    except MalformedMessageError:
        return None
    return _Shown(end, edns) if edns is not None and edns.cookie else None


def _without_options(query: bytes, shown: _Shown) -> bytes:
    """The same query with a plain OPT, as the zone remembers answers to."""
    edns = shown.edns
    flags = b"\x80\0" if edns.dnssec_ok else b"\0\0"
    opt = b"\0\0\x29%b\0%c%b\0\0" % (edns.udp_bytes.to_bytes(2), edns.version, flags)
    return query[:4] + b"\0\1\0\0\0\0\0\1" + query[wire.HEADER_BYTES : shown.question_end] + opt


def _bare(query: bytes, shown: _Shown, cookie: bytes, rcode: int, *, tc: bool) -> bytes:
    """An answer with the question, if there is one, and the cookie, but no records."""
    end = shown.question_end
    head = wire.header(query, rcode=rcode, aa=False, tc=tc, counts=(1 if end else 0, 0, 0, 1))
    opt = wire.opt_record(extended_rcode=rcode >> 4, dnssec_ok=shown.edns.dnssec_ok)
    return wire.with_cookie(head + query[wire.HEADER_BYTES : max(end, wire.HEADER_BYTES)] + opt, cookie)


def _limit(edns: wire.Edns, size_limit: int) -> int:
    return min(size_limit, max(wire.UDP_LIMIT_BYTES, edns.udp_bytes))
