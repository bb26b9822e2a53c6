"""Zone transfers, AXFR (RFC 5936) and IXFR (RFC 1995), and what else is asked with a TSIG.

Knows who may transfer: whoever signs with a key of a secondary. Without a signature the zone itself answers, and it
refuses transfers. Does not know sockets: a transfer over TCP is a generator that is asked for one message at a time.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing, suppress
from typing import Protocol

import dns.exception
import dns.message
import dns.rdatatype

from otscert.zones import wire
from otscert.zones.errors import MalformedMessageError, TsigError
from otscert.zones.journal import Journal, Step
from otscert.zones.rrs import Rr
from otscert.zones.serials import is_ahead
from otscert.zones.tsig import NOTAUTH, Keys, Opened
from otscert.zones.zone import Zone

# Large enough that messages cost little, small enough that making one (1 ms) holds up nobody.
MESSAGE_BYTES = 8_192
# A secondary asks for one at a time; more are lost connections of its own, or others that share its key.
MOST_PER_KEY = 3
# RFC 1035 4.1.1: "unable to process this query"; unlike REFUSED it is no verdict on who asked.
_SERVFAIL = 2
# Messages with a wrong TSIG are logged no more often.
_COMPLAINT_S = 60
# The five numbers at an SOA's end begin with its serial.
_SOA_NUMBERS_BYTES = 20
_log = logging.getLogger(__name__)

Answered = bytes | AsyncGenerator[bytes, None] | None


class Answer(Protocol):
    """The zone's own answer (`Responder.answer`)."""

    def __call__(self, query: bytes, *, size_limit: int | None) -> bytes | None: ...


class Transfers:
    """Answers queries that have a TSIG; `now_s` is Unix time. Begin before the zone is asked: it notes changes then."""

    def __init__(self, zone: Zone, keys: Keys, *, answer: Answer, now_s: Callable[[], int]) -> None:
        self._zone = zone
        self._journal: Journal = zone.keep_journal()
        self._keys = keys
        self._answer = answer
        self._now_s = now_s
        self._complained_s = 0
        self._running: Counter[str] = Counter()

    def __call__(self, query: bytes, client: str, size_limit: int | None) -> Answered:
        """As `front.Signed` says; the message has a header at least."""
        if query[2] & wire.QR_BIT:
            # Two servers that answered each other's refusals would never end.
            return self._answer(query, size_limit=size_limit)
        try:
            opened = self._keys.open(query, now_s=self._now_s())
            if opened is None:
                return self._answer(query, size_limit=size_limit)
            question = wire.parse_question(opened.message)
        except TsigError as error:
            self._complain(error.reason, client)
            return error.answer
        except MalformedMessageError:
            return wire.header(query, rcode=wire.FORMERR, aa=False, counts=(0, 0, 0, 0))
        if question.qtype not in (wire.AXFR, wire.IXFR) or opened.message[2] & wire.OPCODE_MASK:
            return self._signed(opened, question, size_limit)
        return self._transfer(opened, question, client, over_udp=size_limit is not None)

    def _transfer(self, opened: Opened, question: wire.Question, client: str, *, over_udp: bool) -> Answered:
        if question.name != self._zone.origin or question.qclass != wire.CLASS_IN:
            # RFC 5936 2.2.1: "If a server is not authoritative for the queried zone, the server SHOULD set the value to
            # NotAuth(9)".
            return self._refusal(opened, question, NOTAUTH)
        if question.qtype == wire.AXFR:
            # RFC 5936 4.2: there is no AXFR over UDP.
            if over_udp:
                return self._refusal(opened, question, wire.REFUSED)
            return self._bounded(opened, question, self._whole(opened, question, client))
        return self._difference(opened, question, client, over_udp=over_udp)

    def _difference(self, opened: Opened, question: wire.Question, client: str, *, over_udp: bool) -> Answered:
        serial = _serial_asked(opened.message)
        if serial is None:
            return self._refusal(opened, question, wire.FORMERR)
        soa = self._zone.soa()
        # RFC 1995 2: over UDP one that does not fit is the SOA alone, and so is the answer to one who has it all.
        if over_udp or not is_ahead(self._zone.serial, serial):
            return b"".join(self._sealed(opened, question, iter((soa,))))
        steps = self._journal.since(serial)
        if steps is None:
            return self._bounded(opened, question, self._whole(opened, question, client))
        told = {"client": client, "tsig": opened.key, "from_serial": serial, "serial": self._zone.serial}
        _log.info("zone.transferred", extra={"kind": "IXFR", **told})
        return self._bounded(opened, question, _each(self._sealed(opened, question, _differences(soa, steps))))

    async def _bounded(
        self, opened: Opened, question: wire.Question, transfer: AsyncGenerator[bytes, None]
    ) -> AsyncGenerator[bytes, None]:
        """The transfer, or SERVFAIL while the key has as many as it may: whoever asked comes again.

        It is counted when it is asked for its first message: one that never is never ends either.
        """
        if self._running[opened.key] >= MOST_PER_KEY:
            _log.warning("zone.transfers_many", extra={"tsig": opened.key, "most": MOST_PER_KEY})
            yield self._refusal(opened, question, _SERVFAIL)
            return
        self._running[opened.key] += 1
        try:
            async with aclosing(transfer):
                async for message in transfer:
                    yield message
        finally:
            self._running[opened.key] -= 1

    async def _whole(self, opened: Opened, question: wire.Question, client: str) -> AsyncGenerator[bytes, None]:
        snapshot = self._zone.snapshot()
        told = {"client": client, "tsig": opened.key, "serial": serial_of(snapshot.soa)}

        def records() -> Iterator[Rr]:
            yield snapshot.soa
            yield from snapshot.records()
            yield snapshot.soa

        try:
            for message in self._sealed(opened, question, records()):
                yield message
        finally:
            self._zone.release(snapshot)
        _log.info("zone.transferred", extra={"kind": "AXFR", **told})

    def _sealed(self, opened: Opened, question: wire.Question, records: Iterator[Rr]) -> Iterator[bytes]:
        for message in messages(opened.message, question, records):
            yield opened.signer.sign(message, now_s=self._now_s())

    def _signed(self, opened: Opened, question: wire.Question, size_limit: int | None) -> bytes | None:
        answer = self._answer(opened.message, size_limit=size_limit)
        if answer is None:
            return None
        if len(answer) + opened.signer.octets > self._limit(opened.message, question, size_limit):
            # RFC 8945 5.3: when the TSIG does not fit, the answer is cut to the question, with TC, and signed.
            answer = wire.header(opened.message, rcode=0, aa=True, tc=True, counts=(1, 0, 0, 0))
            answer += opened.message[wire.HEADER_BYTES : question.end]
        return opened.signer.sign(answer, now_s=self._now_s())

    @staticmethod
    def _limit(message: bytes, question: wire.Question, size_limit: int | None) -> int:
        if size_limit is None:
            return wire.TCP_LIMIT_BYTES
        edns = None
        with suppress(MalformedMessageError):  # the answer, which is made already, says so
            edns = wire.parse_edns(message, question)
        return min(size_limit, max(wire.UDP_LIMIT_BYTES, edns.udp_bytes if edns else 0))

    def _refusal(self, opened: Opened, question: wire.Question, rcode: int) -> bytes:
        head = wire.header(opened.message, rcode=rcode, aa=False, counts=(1, 0, 0, 0))
        answer = head + opened.message[wire.HEADER_BYTES : question.end]
        return opened.signer.sign(answer, now_s=self._now_s())

    def _complain(self, reason: str, client: str) -> None:
        now_s = self._now_s()
        if abs(now_s - self._complained_s) >= _COMPLAINT_S:
            self._complained_s = now_s
            _log.warning("zone.tsig_refused", extra={"reason": reason, "client": client})


def messages(query: bytes, question: wire.Question, records: Iterator[Rr]) -> Iterator[bytes]:
    """Write records into as few messages as it takes, each with the question; its name is the zone's."""
    asked = query[wire.HEADER_BYTES : question.end]
    size, number, parts = 0, 0, list[bytes]()
    for record in records:
        # RFC 1035 4.1.4: every owner ends with the zone's name, which stands in the question.
        owner = record.owner[: -len(question.name)] + wire.QUESTION_NAME
        octets = wire.record(record.rtype, record.ttl_s, record.rdata, owner)
        if parts and size + len(octets) > MESSAGE_BYTES:
            yield _message(query, asked, number, parts)
            size, number, parts = 0, 0, []
        parts.append(octets)
        size += len(octets)
        number += 1
    yield _message(query, asked, number, parts)


def serial_of(soa: Rr) -> int:
    """The serial in an SOA record."""
    return int.from_bytes(soa.rdata[-_SOA_NUMBERS_BYTES:][:4])


def _message(query: bytes, asked: bytes, number: int, parts: Sequence[bytes]) -> bytes:
    return wire.header(query, rcode=wire.NOERROR, aa=True, counts=(1, number, 0, 0)) + asked + b"".join(parts)


async def _each(each: Iterator[bytes]) -> AsyncGenerator[bytes, None]:
    for message in each:
        yield message


def _differences(soa: Rr, steps: Sequence[Step]) -> Iterator[Rr]:
    # RFC 1995 4: the newest SOA, then for each step the old SOA, what goes, the new SOA, what comes; the newest again.
    yield soa
    for step in steps:
        yield _numbered(soa, step.old)
        yield from step.deleted
        yield _numbered(soa, step.new)
        yield from step.added
    yield soa


def _numbered(soa: Rr, serial: int) -> Rr:
    numbers = soa.rdata[-_SOA_NUMBERS_BYTES:]
    return soa._replace(rdata=soa.rdata[:-_SOA_NUMBERS_BYTES] + serial.to_bytes(4) + numbers[4:])


def _serial_asked(message: bytes) -> int | None:
    try:
        parsed = dns.message.from_wire(message)
        # RFC 1995 3: the authority section holds the SOA of the client's version.
        return next((rdata.serial for rrset in parsed.authority for rdata in rrset if rrset.rdtype == wire.SOA), None)
    except (dns.exception.DNSException, ValueError):
        return None
