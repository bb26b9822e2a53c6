"""The zone as a zone file (RFC 1035 section 5): what the store holds for it at one moment, record by record.

Reads boxes page by page, so that a million of them need no more memory than a thousand. Computed names are not in it:
they have no end, and the head of the file says so. Writes to no file itself.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import islice

import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype

from otscert.domain.admission import Model
from otscert.service.zone_following import boxes_of
from otscert.store.transaction import Transaction
from otscert.store.zone_places import SERIAL
from otscert.zones import wire
from otscert.zones.rrs import Rr
from otscert.zones.zone import Zone

AT_ONCE = 2000
_PLAIN = re.compile(rb"[a-z0-9_-]+")
_SOA_NUMBERS_BYTES = 20
_REMEMBERED = 4096

OnPage = Callable[[int], None]
"""Hears after each page how many boxes have been written; may raise, to end it."""


def zone_lines(
    transaction: Transaction,
    *,
    new_zone: Callable[[], Zone],
    models: Mapping[str, Model],
    issuers: Sequence[str],
    moment: str,
    on_page: OnPage,
) -> Iterator[str]:
    """Yield the lines of the zone file, without line ends, all of one moment of the store.

    Args:
        transaction: reads only, and sees one moment (`store.survey`).
        new_zone: makes a zone with what the settings fix and nothing else.
        models: whose policies say which addresses are published.
        issuers: whose CAA records stand.
        moment: when the store is read, as it is to stand in the head.
        on_page: hears how far it has come.
    """
    zone = new_zone()
    zone.set_caa(transaction.caa.of(issuers))
    zone.set_persist(transaction.persist.of(issuers))
    fixed = [_numbered(rr, transaction.zone_places.get(SERIAL)) for rr in zone.rrs()]
    origin = fixed[0].owner
    yield from _head(origin, fixed[0].ttl_s, moment)
    yield from (line(rr, origin) for rr in fixed)
    values: dict[str, list[str]] = {}
    for label, value in transaction.challenges.all():
        values.setdefault(label, []).append(value)
    written, last = 0, ""
    while rows := transaction.devices.names_after(last, limit=AT_ONCE):
        last = rows[-1][0]
        txt = [(label, value) for label, *_ in rows for value in values.pop(label, ())]
        zone.load(boxes_of(rows, models), txt)
        yield from (line(rr, origin) for rr in islice(zone.rrs(), len(fixed), None))
        written += len(rows)
        on_page(written)
    # Challenges of boxes that are not in DNS, as after a long silence.
    zone.load((), [(label, value) for label, of_label in sorted(values.items()) for value in of_label])
    yield from (line(rr, origin) for rr in islice(zone.rrs(), len(fixed), None))


def line(rr: Rr, origin: bytes) -> str:
    """One record as a zone file has it; owners at or below `origin` are written relative to it."""
    text = _rdata_text(rr.rtype, rr.rdata)
    return f"{_owner(rr.owner, origin)} {rr.ttl_s} IN {_type_text(rr.rtype)} {text}"


def _head(origin: bytes, ttl_s: int, moment: str) -> Iterator[str]:
    name = dns.name.from_wire(origin, 0)[0].to_text()
    yield f"; The zone {name} as HQ's store held it at {moment}."
    yield "; Not in it: names with an address in them (192-168-1-20.<label>), which HQ's name server computes."
    yield "; A server that is to answer those as well has to compute them itself: see docs/dns.md of OTS Cert."
    yield f"$ORIGIN {name}"
    yield f"$TTL {ttl_s}"


def _numbered(rr: Rr, serial: int | None) -> Rr:
    """The SOA with the store's serial in the place of the one that a fresh zone begins with."""
    if rr.rtype != wire.SOA or serial is None:
        return rr
    at = len(rr.rdata) - _SOA_NUMBERS_BYTES
    return rr._replace(rdata=rr.rdata[:at] + (serial % 2**32).to_bytes(4) + rr.rdata[at + 4 :])


def _owner(owner: bytes, origin: bytes) -> str:
    if not owner.endswith(origin):  # never so in our zone; said in full wherever it is
        return dns.name.from_wire(owner, 0)[0].to_text()
    relative = owner[: -len(origin)]
    labels, position = [], 0
    while position < len(relative):
        end = position + 1 + relative[position]
        labels.append(relative[position + 1 : end])
        position = end
    if all(map(_PLAIN.fullmatch, labels)):
        return b".".join(labels).decode("ascii") or "@"
    return dns.name.Name(labels).to_text()


def _rdata_text(rtype: int, rdata: bytes) -> str:
    if rtype in (wire.A, wire.AAAA):
        return str(ipaddress.ip_address(rdata))
    return _dnspython_text(rtype, rdata)


@lru_cache(maxsize=_REMEMBERED)
def _dnspython_text(rtype: int, rdata: bytes) -> str:
    """As dnspython writes it. Remembered, because most TXT records of a fleet are the same placeholder."""
    return dns.rdata.from_wire(dns.rdataclass.IN, dns.rdatatype.RdataType.make(rtype), rdata, 0, len(rdata)).to_text()


@lru_cache(maxsize=_REMEMBERED)
def _type_text(rtype: int) -> str:
    return dns.rdatatype.to_text(dns.rdatatype.RdataType.make(rtype))
