"""Updates of a zone that another server holds (RFC 2136): which records go and which come, as messages.

Knows octets. A change says all that a label's names are to hold, so that repeating it changes nothing. Does not know
keys, servers or where the records come from.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

from otscert.zones import wire
from otscert.zones.rrs import Rr

MOST_BYTES = 60_000
"""A message over TCP has up to 65,535 octets; the rest is for the signature."""
CNAME = 5
_OPCODE_UPDATE = 5 << 11
_CLASS_ANY = 255
_HEADER = struct.Struct("!6H")
# RFC 1035 4.1.4: two set bits and the offset of a name that stands already: the zone's, right behind the header.
_ZONE_NAME = b"\xc0\x0c"

Rrset = tuple[bytes, int]
"""Owner, as an absolute name in wire format, and type."""


class Change(NamedTuple):
    """Record sets that are emptied first, and the records that are put there then."""

    emptied: Collection[Rrset]
    added: Collection[Rr]


def messages(origin: bytes, changes: Iterable[Change], *, most_bytes: int = MOST_BYTES) -> Iterator[bytes]:
    """Yield UPDATE messages with ID 0, unsigned, that make these changes in the zone; a change is never cut in two."""
    parts: list[bytes] = []
    count = size = 0
    for change in changes:
        octets, number = _section(origin, change)
        if parts and size + len(octets) > most_bytes:
            yield _message(origin, count, parts)
            parts, count, size = [], 0, 0
        parts.append(octets)
        count += number
        size += len(octets)
    if parts:
        yield _message(origin, count, parts)


def _message(origin: bytes, count: int, parts: list[bytes]) -> bytes:
    # RFC 2136 2.2: ZOCOUNT, PRCOUNT (no prerequisites), UPCOUNT, ADCOUNT.
    header = _HEADER.pack(0, _OPCODE_UPDATE, 1, 0, count, 0)
    # RFC 2136 2.3: "The ZTYPE is always SOA, ZCLASS is the zone's class".
    return header + origin + struct.pack("!HH", wire.SOA, wire.CLASS_IN) + b"".join(parts)


def _section(origin: bytes, change: Change) -> tuple[bytes, int]:
    """The records of the update section, and how many."""
    octets = bytearray()
    for owner, rtype in change.emptied:
        # RFC 2136 2.5.2: "TTL must be specified as zero (0) and is otherwise not used by the primary master. CLASS must
        # be specified as ANY. RDLENGTH must be zero (0)".
        octets += _shortened(owner, origin) + struct.pack("!HHIH", rtype, _CLASS_ANY, 0, 0)
    for record in change.added:
        octets += wire.record(record.rtype, record.ttl_s, record.rdata, _shortened(record.owner, origin))
    return bytes(octets), len(change.emptied) + len(change.added)


def _shortened(owner: bytes, origin: bytes) -> bytes:
    # A label's length octet is below 64 and a letter's is not, so what ends as the origin does ends with its labels.
    return owner.removesuffix(origin) + _ZONE_NAME
