"""DNS messages by hand: the numbers of RFC 1035 and 6891, reading a question, writing records.

Knows octets. Does not know the zone, and never follows a compression pointer: a question has nothing to point back to.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from otscert.zones.errors import MalformedMessageError

HEADER_BYTES = 12
UDP_LIMIT_BYTES = 512
EDNS_UDP_BYTES = 1232
TCP_LIMIT_BYTES = 65_535

NOERROR = 0
FORMERR = 1
NXDOMAIN = 3
NOTIMP = 4
REFUSED = 5
BADVERS = 16
BADCOOKIE = 23

A = 1
NS = 2
SOA = 6
HINFO = 13
MX = 15
TXT = 16
AAAA = 28
OPT = 41
HTTPS = 65
TSIG = 250
IXFR = 251
AXFR = 252
ANY = 255
CAA = 257

CLASS_IN = 1

QR_BIT = 0x80
OPCODE_MASK = 0x78
AA_BIT = 0x04
TC_BIT = 0x02
RD_BIT = 0x01

# RFC 1035 4.1.4: two set bits and the offset of the question's name, which always stands behind the header.
QUESTION_NAME = b"\xc0\x0c"

_HEADER_BEHIND_ID = struct.Struct("!BB4H")

_LONGEST_NAME_BYTES = 255
_LONGEST_LABEL_BYTES = 63
_POINTER = 0xC0
_DNSSEC_OK = 0x8000
_COOKIE_OPTION = 10
CLIENT_COOKIE_BYTES = 8
COOKIE_BYTES = 24
_TSIG_TYPE = TSIG.to_bytes(2)


class Question(NamedTuple):
    """The one question of a message: the name lower-cased, where its labels start, and the offset behind it."""

    name: bytes
    label_starts: list[int]
    qtype: int
    qclass: int
    end: int


class Edns(NamedTuple):
    """What the sender's OPT record says (RFC 6891 6.1)."""

    version: int
    udp_bytes: int
    dnssec_ok: bool
    cookie: bytes
    """The first COOKIE option (RFC 7873 5.2: the others are ignored); empty: there is none."""


def parse_question(message: bytes) -> Question:
    """Read the question of a message that is at least a header long.

    Raises:
        MalformedMessageError: not one question, a truncated or overlong name, a compression pointer.
    """
    # RFC 9619: "A DNS message with OPCODE = 0 and QDCOUNT > 1 MUST be treated as an incorrectly formatted message".
    if message[4:6] != b"\x00\x01":
        raise MalformedMessageError("the message does not hold exactly one question")
    starts: list[int] = []
    size = len(message)
    position = HEADER_BYTES
    while True:
        if position >= size or position - HEADER_BYTES >= _LONGEST_NAME_BYTES:
            raise MalformedMessageError("the question's name does not end")
        length = message[position]
        if not length:
            break
        if length > _LONGEST_LABEL_BYTES:
            raise MalformedMessageError("the question's name holds a compression pointer or an unknown label type")
        starts.append(position - HEADER_BYTES)
        position += length + 1
    end = position + 5
    if end > size:
        raise MalformedMessageError("the question ends before its class")
    return Question(
        message[HEADER_BYTES : position + 1].lower(),
        starts,
        message[position + 1] << 8 | message[position + 2],
        message[position + 3] << 8 | message[position + 4],
        end,
    )


def parse_bare_edns(message: bytes) -> Edns | None:
    """Read the OPT record of a message without a question, None when it is not all that the message holds.

    Raises:
        MalformedMessageError: a truncated OPT record.
    """
    if message[4:HEADER_BYTES] != b"\0\0\0\0\0\0\0\1" or not _is_opt(message, HEADER_BYTES):
        return None
    return _edns(message, HEADER_BYTES, _record_end(message, HEADER_BYTES))


def parse_edns(message: bytes, question: Question) -> Edns | None:
    """Read the OPT record behind the question, None when there is none.

    Octets behind the last record are ignored, as BIND and NSD do: they change nothing that is answered.

    Raises:
        MalformedMessageError: records where a query has none, a truncated record, more than one OPT, or a TSIG that is
            not the last record.
    """
    counts = message[6:HEADER_BYTES]
    if counts == b"\x00\x00\x00\x00\x00\x00":
        return None
    start, end = question.end, question.end + 11
    # What nearly every query has: one OPT without options.
    if counts == b"\x00\x00\x00\x00\x00\x01" and _is_opt(message, start) and message[end - 2 : end] == b"\x00\x00":
        return _edns(message, start, end)
    answers, authorities, additionals = (int.from_bytes(counts[at : at + 2]) for at in (0, 2, 4))
    # Only IXFR has a record in its authority section (RFC 1995 3); OPT and TSIG are all that a query can add. The bound
    # also keeps a 64 kB message of tiny records from costing more than three steps.
    if answers or authorities > (question.qtype == IXFR) or additionals > 2:
        raise MalformedMessageError("a query holds records that only an answer can have")
    position = question.end
    edns = None
    for index in range(authorities + additionals):
        start = position
        position = _record_end(message, start)
        if not _is_opt(message, start):
            # RFC 8945 5.2: one that is not the last record is a format error, also for who has no keys.
            if _is_tsig(message, start) and (index < authorities or index + 1 < authorities + additionals):
                raise MalformedMessageError("a TSIG is not the last record")
            continue
        # RFC 6891 6.1.1: "If a query message with more than one OPT RR is received, a FORMERR MUST be returned."
        if edns is not None or index < authorities:
            raise MalformedMessageError("the message holds more than one OPT record, or one outside its section")
        edns = _edns(message, start, position)
    return edns


def is_signed(message: bytes) -> bool:
    """Whether this is a query (opcode 0, one question) whose last record is a TSIG; False for what cannot be read."""
    if len(message) < HEADER_BYTES or message[2] & (QR_BIT | OPCODE_MASK) or message[10:HEADER_BYTES] == b"\0\0":
        return False
    records = sum(int.from_bytes(message[at : at + 2]) for at in (6, 8, 10))
    # One in the authority section (IXFR), OPT and TSIG.
    if records > 3:
        return False
    try:
        start = position = parse_question(message).end
        for _ in range(records):
            start, position = position, _record_end(message, position)
        return _is_tsig(message, start)
    except MalformedMessageError:
        return False


def record(rtype: int, ttl_s: int, rdata: bytes, owner: bytes = QUESTION_NAME) -> bytes:
    """Write one record of class IN; its owner is the question's name unless another is given."""
    return b"%b%b\x00\x01%b%b%b" % (
        owner,
        rtype.to_bytes(2),
        ttl_s.to_bytes(4),
        len(rdata).to_bytes(2),
        rdata,
    )


def opt_record(*, extended_rcode: int, dnssec_ok: bool) -> bytes:
    """Write our OPT record: version 0, 1232 octets, the query's DO bit (RFC 3225 3: it "MUST be copied")."""
    flags = _DNSSEC_OK if dnssec_ok else 0
    return b"\x00\x00\x29%b%c\x00%b\x00\x00" % (EDNS_UDP_BYTES.to_bytes(2), extended_rcode, flags.to_bytes(2))


# By the query's DO bit: what stands at the end of nearly every answer.
OPT_RECORDS = (opt_record(extended_rcode=0, dnssec_ok=False), opt_record(extended_rcode=0, dnssec_ok=True))


def with_cookie(answer: bytes, cookie: bytes) -> bytes:
    """The same answer with a COOKIE option of 24 octets in its OPT record, which stands last and has no option."""
    return answer[:-2] + b"\x00\x1c\x00\x0a\x00\x18" + cookie


# What `with_cookie` adds.
COOKIE_OPTION_BYTES = 28


def header(query: bytes, *, rcode: int, aa: bool, tc: bool = False, counts: tuple[int, int, int, int]) -> bytes:
    """Write the header that answers `query`: its id, opcode and RD; RA, AD and CD are never set (RFC 1035 4.1.1)."""
    flags = QR_BIT | query[2] & (OPCODE_MASK | RD_BIT) | (AA_BIT if aa else 0) | (TC_BIT if tc else 0)
    return query[:2] + _HEADER_BEHIND_ID.pack(flags, rcode & 0xF, *counts)


def _name_end(message: bytes, position: int) -> int:
    size = len(message)
    start = position
    while True:
        if position >= size or position - start >= _LONGEST_NAME_BYTES:
            raise MalformedMessageError("a record's name does not end")
        length = message[position]
        position += 1
        if not length:
            break
        if length >= _POINTER:
            position += 1
            break
        if length > _LONGEST_LABEL_BYTES:
            raise MalformedMessageError("a record's name holds an unknown label type")
        position += length
    return position


def _record_end(message: bytes, position: int) -> int:
    size = len(message)
    end = _name_end(message, position) + 10
    if end <= size:
        end += message[end - 2] << 8 | message[end - 1]
    if end > size:
        raise MalformedMessageError("a record ends too early")
    return end


def _is_opt(message: bytes, start: int) -> bool:
    # RFC 6891 6.1.2: the name of an OPT record "MUST be 0 (root domain)".
    return message[start : start + 3] == b"\x00\x00\x29"


def _is_tsig(message: bytes, start: int) -> bool:
    end = _name_end(message, start)
    return message[end : end + 2] == _TSIG_TYPE


def _edns(message: bytes, start: int, end: int) -> Edns:
    position = start + 11
    cookie = b""
    while position < end:
        if position + 4 > end:
            raise MalformedMessageError("an EDNS option ends too early")
        begin = position + 4
        length = message[position + 2] << 8 | message[position + 3]
        if not cookie and message[position] == 0 and message[position + 1] == _COOKIE_OPTION:
            # RFC 7873 5.2.2: a client's 8 octets alone or with a server's 8 to 32; all else is a format error.
            if length != CLIENT_COOKIE_BYTES and not 16 <= length <= 40:
                raise MalformedMessageError("a COOKIE option has a length that no cookie has")
            cookie = message[begin : begin + length]
        position = begin + length
    if position != end:
        raise MalformedMessageError("an EDNS option ends too early")
    return Edns(message[start + 6], message[start + 3] << 8 | message[start + 4], message[start + 7] >= 0x80, cookie)
