"""TSIG (RFC 8945): whose message is it, and our signature on what we say back.

dnspython computes the MACs; this file finds the record, keeps the RFC's order of checks and signs finished octets. MACs
that are cut short are refused altogether.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import cast

import dns.exception
import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.tsig
import dns.wire
from dns.rdtypes.ANY.TSIG import TSIG

from otscert.zones import wire
from otscert.zones.errors import MalformedMessageError, TsigError
from otscert.zones.settings import name_octets

NOTAUTH = 9
BADSIG = 16
BADKEY = 17
BADTIME = 18
BADTRUNC = 22

# RFC 8945 10: "The RECOMMENDED value in this field [Fudge] is 300 seconds."
FUDGE_S = 300
# TYPE TSIG, CLASS ANY, TTL 0 (RFC 8945 4.2): how a record looks whose name may be anything.
_FIXED_PART = b"\x00\xfa\x00\xff\x00\x00\x00\x00"
_ARCOUNT = slice(10, 12)


@dataclass(frozen=True, slots=True, kw_only=True)
class TsigKey:
    """A key's name without final dot, its algorithm as in `hmac-sha256`, and its octets."""

    name: str
    algorithm: str
    secret: bytes = field(repr=False)


def may_be_signed(message: bytes) -> bool:
    """Whether the message may have a TSIG; quick, and wrong only for messages that `Keys.open` calls malformed."""
    return message[_ARCOUNT] != b"\x00\x00" and _FIXED_PART in message


class Signer:
    """Signs the messages of one answer with one key, the first of them after the question's MAC.

    `mac` is the question's; empty for a message that answers nothing. `octets` is what a signature without error takes.
    """

    def __init__(self, key: dns.tsig.Key, mac: bytes) -> None:
        self._key = key
        self._mac = mac
        self._context: dns.tsig.HMACTSig | None = None
        self._owner = name_octets(key.name)
        self.octets = len(self._owner) + 10 + len(name_octets(key.algorithm)) + 16 + dns.tsig.mac_sizes[key.algorithm]

    def sign(self, message: bytes, *, now_s: int, error: int = 0, signed_s: int | None = None) -> bytes:
        """Return the message with a TSIG at its end; the next call signs the next message of the same answer."""
        # RFC 8945 5.2.3: BADTIME's Time Signed is the client's, and Other Data says what time it is here.
        other = now_s.to_bytes(6) if error == BADTIME else b""
        signed_s = now_s if signed_s is None else signed_s
        unsigned = _rdata(self._key.algorithm, message, signed_s=signed_s, error=error, other=other)
        # RFC 8945 5.3.1: from the second message on the MAC covers the one before, the message and the timers only.
        rdata, self._context = dns.tsig.sign(  # type: ignore[no-untyped-call]  # dnspython does not type it
            message, self._key, unsigned, signed_s, self._mac, self._context, multi=True
        )
        self._mac = rdata.mac
        return _with_record(message, self._owner, rdata)

    def accept(self, message: bytes, *, now_s: int) -> bytes:
        """Check the TSIG of the one answer to what was signed last; return the answer without it.

        Raises:
            TsigError: it is not signed, not by this key, not for this question, or not now.
        """
        found = _find(message)
        if found is None:
            raise TsigError("the answer is not signed", b"")
        try:
            dns.tsig.validate(  # type: ignore[no-untyped-call]  # dnspython does not type it
                message, self._key, found.name, found.rdata, now_s, self._mac, found.start
            )
        except dns.exception.DNSException as error:
            raise TsigError(f"the answer's TSIG is wrong: {type(error).__name__}", b"") from error
        return found.without(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A message whose TSIG is right: the key's name, the message without it, and who signs the answer."""

    key: str
    message: bytes
    signer: Signer


class Keys:
    """The keys that others may sign with, by name."""

    def __init__(self, keys: Iterable[TsigKey]) -> None:
        self._keys = {dns.name.from_text(key.name): made(key) for key in keys}

    def open(self, message: bytes, *, now_s: int) -> Opened | None:
        """Check a message's TSIG; None when it has none.

        Raises:
            TsigError: with the answer that RFC 8945 5.2 wants.
            MalformedMessageError: the message cannot be read, or its TSIG is not the last record.
        """
        found = _find(message)
        if found is None:
            return None
        rdata, stripped = found.rdata, found.without(message)
        key = self._keys.get(found.name)
        shown = found.name.to_text(omit_final_dot=True)[:80]
        if key is None or key.algorithm != rdata.algorithm:
            raise TsigError(f"nobody has the key {shown} with its algorithm", _refused(stripped, found, BADKEY))
        if len(rdata.mac) < dns.tsig.mac_sizes[key.algorithm]:
            # RFC 8945 5.2.2.1 lets a server want whole MACs. As it was not verified, our answer is not signed either.
            raise TsigError(f"a MAC by key {shown} is cut short", _refused(stripped, found, BADTRUNC))
        signer = Signer(key, rdata.mac)
        try:
            dns.tsig.validate(  # type: ignore[no-untyped-call]  # dnspython does not type it
                message, key, found.name, rdata, now_s, b"", found.start
            )
        except dns.tsig.BadTime:
            bare = _header_and_question(stripped, NOTAUTH)
            answer = signer.sign(bare, now_s=now_s, error=BADTIME, signed_s=rdata.time_signed)
            off_s = rdata.time_signed - now_s
            raise TsigError(f"a message by key {shown} has a time that is {off_s:+} s from ours", answer) from None
        except dns.exception.DNSException:
            raise TsigError(f"a signature by key {shown} is wrong", _refused(stripped, found, BADSIG)) from None
        return Opened(key=shown.lower(), message=stripped, signer=signer)


def made(key: TsigKey) -> dns.tsig.Key:
    """Return the key as dnspython has it."""
    return dns.tsig.Key(dns.name.from_text(key.name), key.secret, dns.name.from_text(key.algorithm))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """A message's TSIG, where it starts, and how many octets the message has with it."""

    name: dns.name.Name
    rdata: TSIG
    start: int
    message_bytes: int

    def without(self, message: bytes) -> bytes:
        """The message without its TSIG, under the id with which it came, which a forwarder may have changed."""
        count = int.from_bytes(message[_ARCOUNT]) - 1
        return message[:10] + count.to_bytes(2) + message[12 : self.start]


def _find(message: bytes) -> _Found | None:
    try:
        parser = dns.wire.Parser(message)
        _, _, questions, *counts = parser.get_struct("!6H")
        for _ in range(questions):
            dns.name.from_wire_parser(parser)
            parser.get_struct("!HH")
        for left in reversed(range(sum(counts))):
            start = parser.current
            name = dns.name.from_wire_parser(parser)
            rtype, rclass, _, size = parser.get_struct("!HHIH")
            if rtype != dns.rdatatype.TSIG:
                parser.get_bytes(size)
                continue
            # RFC 8945 5.2: "... not the last record in the additional section ... DNS RCODE of 1 (FORMERR)".
            if left or not counts[2] or rclass != dns.rdataclass.ANY:
                raise MalformedMessageError("a TSIG is not the last record, or not of class ANY")
            with parser.restrict_to(size):
                rdata = cast("TSIG", dns.rdata.from_wire_parser(dns.rdataclass.ANY, dns.rdatatype.TSIG, parser))
            return _Found(name=name.canonicalize(), rdata=rdata, start=start, message_bytes=len(message))
    except (dns.exception.DNSException, struct.error, ValueError) as error:
        raise MalformedMessageError(f"the message cannot be read: {type(error).__name__}") from error
    return None


def _rdata(algorithm: dns.name.Name, message: bytes, *, signed_s: int, error: int, other: bytes) -> TSIG:
    original_id = int.from_bytes(message[:2])
    return TSIG(  # type: ignore[no-untyped-call]  # dnspython does not type it
        dns.rdataclass.ANY, dns.rdatatype.TSIG, algorithm, signed_s, FUDGE_S, b"", original_id, error, other
    )


def _refused(message: bytes, found: _Found, error: int) -> bytes:
    """An unsigned answer (RFC 8945 5.3.2: without key or with a wrong MAC it "MUST NOT" be signed)."""
    bare = _header_and_question(message, NOTAUTH)
    rdata = _rdata(found.rdata.algorithm, bare, signed_s=found.rdata.time_signed, error=error, other=b"")
    answer = _with_record(bare, name_octets(found.name), rdata)
    # An owner that came as a pointer is written out. Nobody can be flooded with what is no larger than the query.
    return answer if len(answer) <= found.message_bytes else bare


def _header_and_question(message: bytes, rcode: int) -> bytes:
    try:
        question = wire.parse_question(message)
    except MalformedMessageError:
        return wire.header(message, rcode=rcode, aa=False, counts=(0, 0, 0, 0))
    return wire.header(message, rcode=rcode, aa=False, counts=(1, 0, 0, 0)) + message[12 : question.end]


def _with_record(message: bytes, owner: bytes, rdata: TSIG) -> bytes:
    octets = cast("bytes", rdata.to_wire())  # without a file it returns them
    count = int.from_bytes(message[_ARCOUNT]) + 1
    return b"".join(
        (message[:10], count.to_bytes(2), message[12:], owner, _FIXED_PART, len(octets).to_bytes(2), octets)
    )
