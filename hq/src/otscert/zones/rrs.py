"""The zone as records, one by one: what transfers, exports and differences are made of.

Knows how the octets of an answer are cut into records again. Computed names are not among them: they have no end.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from otscert.zones import wire
from otscert.zones.records import Rrset

_HEAD_BYTES = 12


class Rr(NamedTuple):
    """One record of class IN; `owner` is its absolute name in wire format, lower-cased, `rdata` without compression."""

    owner: bytes
    rtype: int
    ttl_s: int
    rdata: bytes


def rrs_of(owner: bytes, node: Mapping[int, Rrset]) -> Iterator[Rr]:
    """Yield the records of a node, type by type, whose octets begin with the question's name."""
    for records in node.values():
        position = 0
        octets = records.octets
        while position < len(octets):
            rtype = int.from_bytes(octets[position + 2 : position + 4])
            ttl_s = int.from_bytes(octets[position + 6 : position + 10])
            start = position + _HEAD_BYTES
            position = start + int.from_bytes(octets[position + 10 : start])
            yield Rr(owner, rtype, ttl_s, octets[start:position])


def written(record: Rr) -> bytes:
    """Write a record with its whole name, for messages without compression."""
    return wire.record(record.rtype, record.ttl_s, record.rdata, record.owner)
