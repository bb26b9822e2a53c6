"""From the zone's state and a question to the reply: one function, for UDP, TCP and tests alike.

Knows messages and the cache. Does no I/O, has no clock and changes nothing but counts and what it remembers.
"""

from __future__ import annotations

from otscert.zones import wire
from otscert.zones.cache import AnswerCache, Remembered
from otscert.zones.content import NO_RECORDS, Found, ZoneContent
from otscert.zones.counters import AnswerCounters
from otscert.zones.errors import MalformedMessageError
from otscert.zones.records import Rrset
from otscert.zones.serials import Serials

# Strangers choose the type; only what resolvers really ask for is worth remembering. SOA is not: its serial moves.
_REMEMBERED_TYPES = frozenset((wire.A, wire.NS, wire.MX, wire.TXT, wire.AAAA, wire.HTTPS, wire.CAA))
_PLAIN_OPT_BYTES = 11


class Responder:
    """Answers messages from what the zone holds now; `origin` is in wire format, lower-cased."""

    def __init__(
        self, origin: bytes, content: ZoneContent, serials: Serials, cache: AnswerCache, counters: AnswerCounters
    ) -> None:
        self._origin = origin
        self._content = content
        self._serials = serials
        self._cache = cache
        self._counters = counters

    def answer(self, query: bytes, *, size_limit: int | None) -> bytes | None:
        """Answer one message; None means that silence is the answer. Never raises.

        `size_limit` is what the transport carries in octets, 512 or more; None means TCP. Over UDP the answer obeys
        the query's EDNS size as well.
        """
        whole = self._cache.whole.get(query[2:])
        if whole is not None and whole[2]:
            whole[1][0] += 1
            return query[:2] + whole[0]
        # A name of this zone holds no zero octet, so the first one ends it. Length octets are below "A": lower() leaves
        # them alone, and a name that is equal octet by octet to one that was parsed properly is that name.
        end = query.find(0, 12) + 1
        answers = self._cache.recent.get(query[12:end].lower())
        if answers is not None:
            known = answers.get(query[2:12] + query[end:])
            if known is not None:
                head, origin_offset, tail, counter, _ = known
                counter[0] += 1
                if origin_offset:
                    return query[:2] + head + query[12 : end + 4] + self._serials.negative_soa[origin_offset] + tail
                answer = query[:2] + head + query[12 : end + 4] + tail
                self._cache.remember_whole(query, answer, known)
                return answer
        return self._answer_anew(query, size_limit)

    def truncated(self, query: bytes) -> bytes | None:
        """Answer one message with its question and TC alone: the client is to come back over TCP.

        What cannot be answered so gets what it would get anyhow, a header; nothing is larger than the question and OPT.
        """
        if len(query) < wire.HEADER_BYTES or query[2] & wire.QR_BIT:
            self._counters.dropped += 1
            return None
        if query[2] & wire.OPCODE_MASK:
            return self._bare(query, wire.NOTIMP)
        try:
            question = wire.parse_question(query)
            edns = wire.parse_edns(query, question)
        except MalformedMessageError:
            return self._bare(query, wire.FORMERR)
        # Nothing was looked up, so it is not authoritative; NSD and BIND say so as well when they limit.
        opt = b"" if edns is None else wire.OPT_RECORDS[edns.dnssec_ok]
        head = wire.header(query, rcode=wire.NOERROR, aa=False, tc=True, counts=(1, 0, 0, len(opt) and 1))
        return head + query[12 : question.end] + opt

    def _answer_anew(self, query: bytes, size_limit: int | None) -> bytes | None:
        # RFC 1035 4.1.1; a truncated header has no id to answer, and answering answers would make two servers talk.
        if len(query) < wire.HEADER_BYTES or query[2] & wire.QR_BIT:
            self._counters.dropped += 1
            return None
        if query[2] & wire.OPCODE_MASK:
            return self._bare(query, wire.NOTIMP)
        try:
            question = wire.parse_question(query)
            edns = wire.parse_edns(query, question)
        except MalformedMessageError:
            return self._bare(query, wire.FORMERR)
        if edns is not None and edns.version:
            return self._refusal(query, question, edns, wire.BADVERS)
        origin_start = len(question.name) - len(self._origin)
        inside = origin_start in question.label_starts and question.name.endswith(self._origin)
        if not inside or question.qclass != wire.CLASS_IN or question.qtype in (wire.AXFR, wire.IXFR):
            return self._refusal(query, question, edns, wire.REFUSED)
        return self._authoritative(query, question, edns, size_limit, origin_start)

    def _authoritative(
        self, query: bytes, question: wire.Question, edns: wire.Edns | None, size_limit: int | None, origin_start: int
    ) -> bytes:
        found = self._find(question, origin_start)
        counter = self._counters.cell(question.qtype, found.rcode)
        counter[0] += 1
        opt = b"" if edns is None else wire.OPT_RECORDS[edns.dnssec_ok]
        rcode, answer, additional = found
        soa_offset = 0 if answer.number else wire.HEADER_BYTES + origin_start
        authority = self._serials.negative_soa[soa_offset] if soa_offset else b""
        limit = _limit(edns, size_limit)
        needed_bytes = question.end + len(answer.octets) + len(authority) + len(opt)
        if needed_bytes > limit:
            self._counters.truncated += 1
            head = wire.header(query, rcode=rcode, aa=True, tc=True, counts=(1, 0, 0, len(opt) and 1))
            return head + query[12 : question.end] + opt
        if needed_bytes + len(additional.octets) > limit:
            # RFC 2181 9: leaving out additional records that are not required is not a truncation.
            additional = NO_RECORDS
        counts = (1, answer.number, 1 if soa_offset else 0, additional.number + (1 if opt else 0))
        head = wire.header(query, rcode=rcode, aa=True, counts=counts)
        tail = answer.octets + additional.octets + opt
        if self._worth_remembering(question, edns, len(query), found, needed_bytes + len(additional.octets)):
            key = query[2:12] + query[question.end - 4 :]
            self._cache.remember(question.name, key, Remembered(head[2:], soa_offset, tail, counter, [True]))
        return head + query[12 : question.end] + authority + tail

    def _find(self, question: wire.Question, origin_start: int) -> Found:
        if question.qtype == wire.SOA and not origin_start:
            return Found(wire.NOERROR, Rrset(1, self._serials.soa[wire.HEADER_BYTES]), NO_RECORDS)
        return self._content.find(question, origin_start)

    def _worth_remembering(
        self, question: wire.Question, edns: wire.Edns | None, query_bytes: int, found: Found, answer_bytes: int
    ) -> bool:
        # Up to 512 octets an answer is the same for every transport. A query with options is never asked twice alike,
        # and a name that does not exist is a stranger's choice.
        return (
            found.rcode == wire.NOERROR
            and question.qtype in _REMEMBERED_TYPES
            and answer_bytes <= wire.UDP_LIMIT_BYTES
            and query_bytes - question.end == (0 if edns is None else _PLAIN_OPT_BYTES)
        )

    def _refusal(self, query: bytes, question: wire.Question, edns: wire.Edns | None, rcode: int) -> bytes:
        self._counters.cell(question.qtype, rcode)[0] += 1
        opt = b""
        if edns is not None:
            opt = wire.opt_record(extended_rcode=rcode >> 4, dnssec_ok=edns.dnssec_ok)
        head = wire.header(query, rcode=rcode, aa=False, counts=(1, 0, 0, 1 if opt else 0))
        return head + query[12 : question.end] + opt

    def _bare(self, query: bytes, rcode: int) -> bytes:
        self._counters.cell(0, rcode)[0] += 1
        return wire.header(query, rcode=rcode, aa=False, counts=(0, 0, 0, 0))


def _limit(edns: wire.Edns | None, size_limit: int | None) -> int:
    if size_limit is None:
        return wire.TCP_LIMIT_BYTES
    # RFC 6891 6.2.3: values lower than 512 "MUST be treated as equal to 512".
    return min(size_limit, wire.UDP_LIMIT_BYTES if edns is None else max(wire.UDP_LIMIT_BYTES, edns.udp_bytes))
