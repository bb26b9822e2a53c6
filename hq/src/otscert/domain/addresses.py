"""Which addresses may appear in the zone, and why the others may not.

Knows ranges and their reasons. Does not know devices, models' names or DNS: a model hands its policy over as a value.
`ipaddress.is_private` is never asked: it says True for ::ffff:127.0.0.1 and for 0.0.0.0.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network

# The longest text of an IPv6 address is 45 characters; everything beyond is not worth parsing.
_LONGEST_TEXT = 45

_LOOPBACK = "is loopback, it leads every client to itself"

# What no policy can allow, the narrower range first: the first that fits gives the reason.
_REFUSED_V4: tuple[tuple[str, str], ...] = (
    ("0.0.0.0/8", "is unspecified (RFC 1122 3.2.1.3)"),
    ("169.254.0.0/16", "is link-local, browsers cannot reach it by name (RFC 3927)"),
    ("224.0.0.0/4", "is a multicast group (RFC 5771)"),
    ("192.0.2.0/24", "is for documentation (RFC 5737)"),
    ("198.51.100.0/24", "is for documentation (RFC 5737)"),
    ("203.0.113.0/24", "is for documentation (RFC 5737)"),
    ("100.100.100.200/32", "is a cloud's metadata service"),
)
_REFUSED_V6: tuple[tuple[str, str], ...] = (
    ("::/128", "is unspecified (RFC 4291 2.5.2)"),
    ("fe80::/10", "is link-local, it means nothing without an interface (RFC 4291 2.5.6)"),
    ("ff00::/8", "is a multicast group (RFC 4291 2.7)"),
    ("::ffff:0:0/96", "is an IPv4 address mapped into IPv6 (RFC 4291 2.5.5.2)"),
    ("2002::/16", "is a 6to4 address, it leads to a public IPv4 host (RFC 3056)"),
    ("64:ff9b::/96", "is a NAT64 address, it leads to an IPv4 host (RFC 6052)"),
    ("64:ff9b:1::/48", "is a NAT64 address, it leads to an IPv4 host (RFC 8215)"),
    ("2001::/32", "is a Teredo address, it leads to a public IPv4 host (RFC 4380)"),
    ("2001:db8::/32", "is for documentation (RFC 3849)"),
    ("3fff::/20", "is for documentation (RFC 9637)"),
    ("fd00:ec2::254/128", "is a cloud's metadata service"),
    ("fd20:ce::254/128", "is a cloud's metadata service"),
)

# Netmask, network number, reason: comparing numbers is ten times as fast as asking `ipaddress`, and computed names are
# judged while a stranger waits.
_Range = tuple[int, int, str]


def _ranges(refused: tuple[tuple[str, str], ...]) -> tuple[_Range, ...]:
    networks = [(ip_network(network), reason) for network, reason in refused]
    return tuple((int(network.netmask), int(network.network_address), reason) for network, reason in networks)


_RANGES_V4 = _ranges((*_REFUSED_V4, ("127.0.0.0/8", _LOOPBACK)))
_RANGES_V6 = _ranges((*_REFUSED_V6, ("::1/128", _LOOPBACK)))

_RFC1918 = (IPv4Network("10.0.0.0/8"), IPv4Network("172.16.0.0/12"), IPv4Network("192.168.0.0/16"))
_UNIQUE_LOCAL = IPv6Network("fc00::/7")
_GLOBAL = IPv6Network("2000::/3")
_SHARED = IPv4Network("100.64.0.0/10")

# A policy may only name parts of these: a public network on a maker's zone is how such zones end on blocklists.
_MAY_BE_ALLOWED: tuple[IPNetwork, ...] = (*_RFC1918, _SHARED, _UNIQUE_LOCAL)


class AddressError(ValueError):
    """A text is not an address, or a network may not be allowed by any policy."""


def _is_within(network: IPNetwork, wider: IPNetwork) -> bool:
    if isinstance(network, IPv4Network) and isinstance(wider, IPv4Network):
        return network.subnet_of(wider)
    if isinstance(network, IPv6Network) and isinstance(wider, IPv6Network):
        return network.subnet_of(wider)
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether an address may be published, with the reason as a sentence."""

    allowed: bool
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressPolicy:
    """The networks in which a model's boxes may have their address, and what else the zone says of such a box.

    `computed_names`: names that say an address of these networks exist below the box's. `own_global`: its own global
    IPv6 address is published, which somebody has to know to be its own; names are never computed from one.
    `https_record`: the box can be reached by HTTPS on port 443 right now (RFC 9460).

    Raises:
        AddressError: a network reaches outside RFC 1918, RFC 4193 and RFC 6598.
    """

    networks: tuple[IPNetwork, ...]
    allow_loopback: bool = False
    computed_names: bool = True
    own_global: bool = False
    https_record: bool = False
    _numbers: tuple[tuple[int, int, int], ...] = field(init=False, repr=False, compare=False)
    """Netmask, network number and version of each network."""

    def __post_init__(self) -> None:
        for network in self.networks:
            if not any(_is_within(network, wider) for wider in _MAY_BE_ALLOWED):
                raise AddressError(
                    f"{network} cannot be allowed: only parts of "
                    f"{', '.join(map(str, _MAY_BE_ALLOWED))} are private addresses"
                )

        numbers = tuple((int(each.netmask), int(each.network_address), each.version) for each in self.networks)
        object.__setattr__(self, "_numbers", numbers)

    def judge(self, address: IPAddress) -> Verdict:
        """Say whether `address` may stand in the zone, and why. Never raises."""
        refusal = self._refusal(address)
        if refusal is not None:
            return Verdict(allowed=False, reason=f"{address} {refusal}")
        for network in self.networks:
            if address in network:
                return Verdict(allowed=True, reason=f"{address} is in {network}")
        return Verdict(allowed=True, reason=f"{address} is loopback, which this model allows")

    def allows(self, address: IPAddress) -> bool:
        """The same decision without the words, for 100,000 addresses at once."""
        return self._refusal(address) is None

    def judge_own(self, address: IPAddress, *, known: bool) -> Verdict:
        """The same for an address that a box says is its own; `known`: HQ saw the box call from this very address."""
        if not is_global(address) or not self.own_global:
            return self.judge(address)
        refusal = _hard_refusal(address)
        if refusal is None and not known:
            refusal = "is a global address from which HQ has not seen this box call"
        if refusal is not None:
            return Verdict(allowed=False, reason=f"{address} {refusal}")
        return Verdict(allowed=True, reason=f"{address} is global, and HQ saw the box call from there")

    def publishes(self, address: IPAddress) -> bool:
        """Whether the zone may hold an address that the use cases found to be the box's own."""
        return self.allows(address) or (self.own_global and is_global(address) and _hard_refusal(address) is None)

    def _refusal(self, address: IPAddress) -> str | None:
        refusal = _hard_refusal(address)
        if refusal is not None:
            return None if refusal is _LOOPBACK and self.allow_loopback else refusal
        number, version = int(address), address.version
        for mask, first, of_version in self._numbers:
            if number & mask == first and version == of_version:
                return None
        return "is in no network that this model allows"


DEFAULT_POLICY = AddressPolicy(networks=(*_RFC1918, _UNIQUE_LOCAL))


def parse_address(text: str) -> IPAddress:
    """Read an IPv4 address in strict dotted decimal, or an IPv6 address without a zone index.

    Raises:
        AddressError: with a sentence that can be shown to the sender.
    """
    if len(text) > _LONGEST_TEXT:
        raise AddressError(f"an address has at most {_LONGEST_TEXT} characters, this text has {len(text)}")
    if "%" in text:
        raise AddressError(f"{text!r} has a zone index (%), which means nothing outside the box")
    try:
        return ip_address(text)
    except ValueError:
        raise AddressError(f"{text!r} is not an IPv4 or IPv6 address") from None


def is_global(address: IPAddress) -> bool:
    """Whether it is global unicast IPv6 (RFC 4291 2.4: what IANA gives out of it is 2000::/3)."""
    return isinstance(address, IPv6Address) and address in _GLOBAL


def _hard_refusal(address: IPAddress) -> str | None:
    number = int(address)
    if isinstance(address, IPv4Address):
        return _reason_in(number, _RANGES_V4)
    if address.scope_id is not None:
        return "has a zone index, which means nothing outside the box"
    reason = _reason_in(number, _RANGES_V6)
    # RFC 4291 appendix A: the two octets 0xFF and 0xFE stand in the middle of the 64-bit interface identifier.
    if reason is None and number >> 24 & 0xFFFF == 0xFFFE:
        return "carries the box's MAC address (EUI-64, RFC 4291 appendix A)"
    return reason


def _reason_in(number: int, ranges: tuple[_Range, ...]) -> str | None:
    for mask, network, reason in ranges:
        if number & mask == network:
            return reason
    return None
