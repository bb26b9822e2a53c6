"""What the maker decides about the zone: its name, its name servers and the records at its top.

Knows the limits that RFC 1035 and the computed names set. Does not know boxes, and builds no wire format.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import dns.exception
import dns.name

from otscert.domain.addresses import IPAddress
from otscert.zones.errors import SettingsError

# RFC 1035 2.3.4 gives a name 255 octets. The longest names that we answer put 33 octets (32 hex digits) and a label of
# up to 64 in front of the origin.
_LONGEST_ORIGIN_BYTES = 255 - 33 - 64
_LARGEST_TTL_S = 2**31 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ZoneTtls:
    """How long resolvers may keep what they heard, in seconds.

    `soa_minimum_s` is the negative TTL (RFC 2308 4): with a day there, a box asked for too early stays unknown for a
    day, the trap that broke two ACME brokers.
    """

    address_s: int = 60
    computed_s: int = 86_400
    challenge_s: int = 10
    persistent_s: int = 300
    https_s: int = 60
    apex_s: int = 3600
    name_server_s: int = 86_400
    soa_minimum_s: int = 60

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = getattr(self, name)
            if not 0 <= value <= _LARGEST_TTL_S:
                raise SettingsError(f"{name} is {value}, a TTL lies between 0 and {_LARGEST_TTL_S} (RFC 2181 8)")
        if self.challenge_s > 10:
            raise SettingsError(f"challenge_s is {self.challenge_s}: a CA must not see a challenge older than 10 s")
        if self.soa_minimum_s > 60:
            raise SettingsError(
                f"soa_minimum_s is {self.soa_minimum_s}: a new box would stay unknown for so long, use 60"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class ZoneTimers:
    """What the SOA tells secondary servers (RFC 1035 3.3.13), in seconds."""

    refresh_s: int = 3600
    retry_s: int = 600
    expire_s: int = 1_209_600


def _no_addresses() -> Mapping[str, tuple[IPAddress, ...]]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class ZoneSettings:
    """One zone as its maker wants it.

    `name_servers` are host names, the first is the SOA's MNAME. `server_addresses` has the addresses of those that lie
    inside the zone. `contact` is the SOA's RNAME as a dotted name (`hostmaster.example.com`). `caa` holds the values of
    CAA `issue` properties (RFC 8659 4.2, RFC 8657). `public_suffix` holds TXT values for `_psl` below the origin.

    Raises:
        SettingsError: with a sentence that names the setting.
    """

    origin: str
    name_servers: tuple[str, ...]
    contact: str
    server_addresses: Mapping[str, tuple[IPAddress, ...]] = field(default_factory=_no_addresses)
    caa: tuple[str, ...] = ()
    public_suffix: tuple[str, ...] = ()
    first_serial: int = 1
    ttls: ZoneTtls = field(default_factory=ZoneTtls)
    timers: ZoneTimers = field(default_factory=ZoneTimers)

    def __post_init__(self) -> None:
        origin = absolute_name(self.origin, setting="origin")
        if origin == dns.name.root or len(name_octets(origin)) > _LONGEST_ORIGIN_BYTES:
            raise SettingsError(f"origin {self.origin!r} must have 1 to {_LONGEST_ORIGIN_BYTES} octets on the wire")
        if not self.name_servers:
            raise SettingsError("name_servers is empty: a zone needs at least one")
        if not 0 <= self.first_serial < 2**32:
            raise SettingsError(f"first_serial is {self.first_serial}, it must fit into 32 bits")
        absolute_name(self.contact, setting="contact")
        self._check_server_addresses(origin)

    def _check_server_addresses(self, origin: dns.name.Name) -> None:
        addresses = {absolute_name(host, setting="server_addresses"): at for host, at in self.server_addresses.items()}
        for name in addresses:
            if not name.is_subdomain(origin) or name == origin:
                raise SettingsError(f"server_addresses has {name}, which is not below {origin}")
        for host in self.name_servers:
            name = absolute_name(host, setting="name_servers")
            if name.is_subdomain(origin) and not addresses.get(name):
                raise SettingsError(
                    f"name server {host} lies inside the zone but server_addresses has no address for it"
                )


def absolute_name(text: str, *, setting: str) -> dns.name.Name:
    """Read a host name, with or without its final dot, as a lower-cased absolute name.

    Raises:
        SettingsError: the text is not a name; the sentence starts with `setting`.
    """
    try:
        return dns.name.from_text(text).canonicalize()
    except (dns.exception.DNSException, UnicodeError) as error:
        raise SettingsError(f"{setting}: {text!r} is not a DNS name ({error})") from error


def name_octets(name: dns.name.Name) -> bytes:
    """Write a name as octets, without compression; a relative name has no root label at its end."""
    return b"".join(len(label).to_bytes(1) + label for label in name.labels)
