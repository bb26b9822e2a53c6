"""As whom a caller is counted: his own address, and for IPv6 the wider networks that one customer gets.

A home line has a /56 or a /48, so counting by /64 alone would let one line spend a whole model's budget.
"""

from __future__ import annotations

from ipaddress import IPv6Network, ip_network

_WIDER = ((56, 4), (48, 16))
"""Prefix length, and how many times one /64's share all of it may spend."""


def buckets(address: str) -> tuple[tuple[str, int], ...]:
    """The buckets to charge for a caller, each with how many shares of one address it holds.

    `address` is an IPv4 address, an IPv6 /64 in CIDR form, or any other name of a caller, which is counted as it is.
    """
    own = (address, 1)
    try:
        network = ip_network(address)
    except ValueError:
        return (own,)
    if not isinstance(network, IPv6Network):
        return (own,)
    return (own, *((str(network.supernet(new_prefix=length)), share) for length, share in _WIDER))
