"""Which addresses HQ calls for the maker: public ones, and those in networks that the configuration names.

A host name in a URL is the maker's, but what it resolves to may be anybody's: without this rule the name could be
pointed at HQ's own network, at a cloud's metadata service, or at HQ itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

_SITE_LOCAL = ip_network("fec0::/10")
_NAT64 = tuple(ip_network(text) for text in ("64:ff9b::/96", "64:ff9b:1::/48"))


def refusal(address: IPv4Address | IPv6Address, *, allowed: Sequence[IPv4Network | IPv6Network]) -> str | None:
    """Return why this address is not called; None when it is."""
    if any(address in network for network in allowed):
        return None
    if _carries_another(address):
        return f"{address} carries an IPv4 address inside"
    # `is_global` follows IANA's registries of special-purpose addresses; multicast is "global" there.
    # Nor does IANA's list have site-local addresses (RFC 3879) any more, which are still inside of some networks.
    if not address.is_global or address.is_multicast or address.is_reserved or address in _SITE_LOCAL:
        return f"{address} is not a public address"
    return None


def _carries_another(address: IPv4Address | IPv6Address) -> bool:
    """Whether a translator or the kernel would take this IPv6 address to an IPv4 address that nobody has judged."""
    if isinstance(address, IPv4Address):
        return False
    carried = address.ipv4_mapped or address.sixtofour or address.teredo
    return carried is not None or any(address in network for network in _NAT64)
