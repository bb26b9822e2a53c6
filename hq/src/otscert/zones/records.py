"""The records that settings fix: what stands at the zone's top, its name servers' addresses and its SOA.

Builds octets once, when settings or CAA change. Does not know boxes or questions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from ipaddress import IPv4Address
from typing import NamedTuple

import dns.name

from otscert.domain.addresses import IPAddress
from otscert.zones import wire
from otscert.zones.errors import RecordError
from otscert.zones.settings import ZoneSettings, absolute_name, name_octets

_LONGEST_STRING_BYTES = 255
_LONGEST_TXT_BYTES = 4096

# RFC 8482 4.2: "The CPU field of the HINFO RDATA SHOULD be set to "RFC8482". The OS field SHOULD be set to the null
# string".
_HINFO_RDATA = b"\x07RFC8482\x00"
_HINFO_TTL_S = 3600

# RFC 7505 3: a null MX has preference 0 and the root as its exchange.
_NULL_MX_RDATA = b"\x00\x00\x00"
_NO_MAIL = "v=spf1 -all"


class Rrset(NamedTuple):
    """Records of one type, written one after the other, with the question's name as their owner."""

    number: int
    octets: bytes


Node = Mapping[int, Rrset]


def rrset(rtype: int, ttl_s: int, rdatas: Sequence[bytes]) -> Rrset:
    """Write all records of one type at the question's name."""
    return Rrset(len(rdatas), b"".join(wire.record(rtype, ttl_s, rdata) for rdata in rdatas))


def minimal_any() -> Rrset:
    """Write the one record that answers ANY (RFC 8482)."""
    return rrset(wire.HINFO, _HINFO_TTL_S, [_HINFO_RDATA])


def txt_rdata(value: str) -> bytes:
    """Write a TXT value as strings of up to 255 octets, which readers join.

    Raises:
        RecordError: the value is not ASCII, or longer than any challenge.
    """
    if not value.isascii() or len(value) > _LONGEST_TXT_BYTES:
        raise RecordError(f"a TXT value must be ASCII of at most {_LONGEST_TXT_BYTES} octets")
    octets = value.encode("ascii")
    strings = [octets[at : at + _LONGEST_STRING_BYTES] for at in range(0, len(octets), _LONGEST_STRING_BYTES)]
    return b"".join(len(string).to_bytes(1) + string for string in strings or [b""])


def caa_rdata(value: str) -> bytes:
    """Write a CAA record: flags 0, tag `issue` (RFC 8659 4.1).

    Raises:
        RecordError: the value is empty, too long or not printable ASCII.
    """
    if not value or not value.isascii() or not value.isprintable() or len(value) > 1024:
        raise RecordError(f"a CAA value must be printable ASCII of 1 to 1024 octets: {value[:80]!r}")
    return b"\x00\x05issue" + value.encode("ascii")


def caa_rrset(settings: ZoneSettings, values: Sequence[str]) -> Rrset:
    """Write the zone's CAA records.

    Raises:
        RecordError: a value does not fit; nothing is written.
    """
    return rrset(wire.CAA, settings.ttls.apex_s, [caa_rdata(value) for value in values])


def https_rrset(ttl_s: int) -> Rrset:
    """Write the HTTPS record (RFC 9460 9) `1 . alpn=http/1.1`: HTTPS is spoken on port 443 of the name itself.

    More protocols than every web server speaks are not named: HTTP/2 is found by the TLS handshake all the same.
    """
    parameter = b"\x08http/1.1"
    rdata = b"\x00\x01\x00\x00\x01%b%b" % (len(parameter).to_bytes(2), parameter)
    return rrset(wire.HTTPS, ttl_s, [rdata])


def address_rdatas(published: Iterable[IPAddress]) -> tuple[bytes, bytes]:
    """Pack addresses by family: all IPv4 octets in one string, all IPv6 octets in the other, without repetition."""
    # Octets are compared ten times as fast as addresses.
    packed = dict.fromkeys([address.packed for address in published])
    return b"".join([each for each in packed if len(each) == 4]), b"".join([each for each in packed if len(each) == 16])


class AddressHeads(NamedTuple):
    """What stands in front of every address of one TTL, by family."""

    v4: bytes
    v6: bytes


def address_heads(ttl_s: int) -> AddressHeads:
    """Write A and AAAA records up to their data, once for all boxes."""
    return AddressHeads(wire.record(wire.A, ttl_s, bytes(4))[:-4], wire.record(wire.AAAA, ttl_s, bytes(16))[:-16])


def addresses(head: bytes, octets: bytes, size: int) -> Rrset:
    """Write one record for every `size` octets."""
    if len(octets) == size:
        return Rrset(1, head + octets)
    records = [head + octets[at : at + size] for at in range(0, len(octets), size)]
    return Rrset(len(records), b"".join(records))


def fixed_nodes(settings: ZoneSettings) -> dict[bytes, dict[int, Rrset]]:
    """Write every node that settings fix, by its name relative to the origin (`b""` is the top).

    Names between them and the top are there too, without records: RFC 8020 2, a name with something below it exists.
    """
    origin = absolute_name(settings.origin, setting="origin")
    nodes: dict[bytes, dict[int, Rrset]] = {b"": _top(settings)}
    heads = address_heads(settings.ttls.name_server_s)
    for host, published in settings.server_addresses.items():
        relative = absolute_name(host, setting="server_addresses").relativize(origin)
        v4, v6 = address_rdatas(published)
        families = {wire.A: addresses(heads.v4, v4, 4), wire.AAAA: addresses(heads.v6, v6, 16)}
        node = {rtype: records for rtype, records in families.items() if records.number}
        nodes.setdefault(name_octets(relative), {}).update(node)
        for depth in range(1, len(relative)):
            nodes.setdefault(name_octets(dns.name.Name(relative.labels[depth:])), {})
    if settings.public_suffix:
        rdatas = [txt_rdata(value) for value in settings.public_suffix]
        nodes.setdefault(b"\x04_psl", {})[wire.TXT] = rrset(wire.TXT, settings.ttls.apex_s, rdatas)
    return nodes


def name_server_glue(settings: ZoneSettings) -> Rrset:
    """Write the addresses of the name servers inside the zone, for the additional section of an NS answer."""
    published = {absolute_name(host, setting="server_addresses"): at for host, at in settings.server_addresses.items()}
    octets = []
    for host in settings.name_servers:
        name = absolute_name(host, setting="name_servers")
        owner = name_octets(name)
        for address in published.get(name, ()):
            rtype = wire.A if isinstance(address, IPv4Address) else wire.AAAA
            octets.append(wire.record(rtype, settings.ttls.name_server_s, address.packed, owner))
    return Rrset(len(octets), b"".join(octets))


class SoaRecords(dict[int, bytes]):
    """The SOA of one serial, ready for every place in a message where the origin can stand.

    The key is the origin's offset in the message: owner, MNAME and RNAME point there, which saves up to 60 octets in
    every NODATA and NXDOMAIN. Filled as offsets are asked for; there are at most 255.
    """

    def __init__(self, settings: ZoneSettings, *, serial: int, ttl_s: int) -> None:
        super().__init__()
        origin = absolute_name(settings.origin, setting="origin")
        self._names = [
            _split(absolute_name(settings.name_servers[0], setting="name_servers"), origin),
            _split(absolute_name(settings.contact, setting="contact"), origin),
        ]
        self._origin = name_octets(origin)
        timers = settings.timers
        numbers = (serial, timers.refresh_s, timers.retry_s, timers.expire_s, settings.ttls.soa_minimum_s)
        self._numbers = b"".join(number.to_bytes(4) for number in numbers)
        self.ttl_s = ttl_s

    def __missing__(self, origin_offset: int) -> bytes:
        pointer = (0xC000 | origin_offset).to_bytes(2)
        names = b"".join(octets + (pointer if inside else b"") for octets, inside in self._names)
        soa = self[origin_offset] = wire.record(wire.SOA, self.ttl_s, names + self._numbers, pointer)
        return soa

    def whole(self) -> bytes:
        """The data with whole names, for where the origin does not stand in the same message."""
        names = (octets + (self._origin if inside else b"") for octets, inside in self._names)
        return b"".join(names) + self._numbers

    def renumbered(self, serial: int) -> SoaRecords:
        """The same SOA with another serial."""
        copy = SoaRecords.__new__(SoaRecords)
        copy._origin = self._origin  # noqa: SLF001 - of its own class
        copy._names = self._names  # noqa: SLF001 - of its own class
        copy._numbers = serial.to_bytes(4) + self._numbers[4:]  # noqa: SLF001 - of its own class
        copy.ttl_s = self.ttl_s
        return copy


def _top(settings: ZoneSettings) -> dict[int, Rrset]:
    ttls = settings.ttls
    servers = [name_octets(absolute_name(host, setting="name_servers")) for host in settings.name_servers]
    top = {
        wire.NS: rrset(wire.NS, ttls.name_server_s, servers),
        wire.MX: rrset(wire.MX, ttls.apex_s, [_NULL_MX_RDATA]),
        wire.TXT: rrset(wire.TXT, ttls.apex_s, [txt_rdata(_NO_MAIL)]),
    }
    if settings.caa:
        top[wire.CAA] = caa_rrset(settings, settings.caa)
    return top


def _split(name: dns.name.Name, origin: dns.name.Name) -> tuple[bytes, bool]:
    if name.is_subdomain(origin):
        return name_octets(name.relativize(origin)), True
    return name_octets(name), False
