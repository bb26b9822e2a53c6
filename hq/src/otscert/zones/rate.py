"""How many answers a network gets in a second: counted per IPv4 /24 and IPv6 /56, cleared by the second.

Knows counting. Has no clock, and does not know what is answered beyond the limit.

Who sends from a forged address means the network of that address to be flooded; so networks are counted, not clients.
Memory is bounded by counting in buckets: two networks that share one (by a hash that strangers do not know) share their
limit too, which costs a validator no more than a way over TCP.
"""

from __future__ import annotations

import socket

_BUCKETS = 1 << 16
# A shortcut past the hash for clients that ask often; each question of a client beyond it costs 0.6 to 0.7 us more.
_REMEMBERED_CLIENTS = 1 << 14


def network_octets(client: str) -> bytes:
    """The network of a numeric address: 3 octets of IPv4, 7 of IPv6."""
    if ":" in client:
        return socket.inet_pton(socket.AF_INET6, client.partition("%")[0])[:7]
    return socket.inet_pton(socket.AF_INET, client)[:3]


def network_text(client: str) -> str:
    """The same as text, like 192.0.2.0/24 or 2001:db8:0:100::/56."""
    octets = network_octets(client)
    if len(octets) == 3:
        return f"{socket.inet_ntop(socket.AF_INET, octets + bytes(1))}/24"
    return f"{socket.inet_ntop(socket.AF_INET6, octets + bytes(9))}/56"


class RateLimit:
    """What is left of this second's answers, by network."""

    __slots__ = ("_begin_s", "_buckets", "_end_s", "_of_client", "_per_s")

    def __init__(self, per_s: int) -> None:
        self._per_s = per_s
        self._begin_s = self._end_s = 0.0
        self._of_client: dict[str, list[int]] = {}
        self._buckets: dict[int, list[int]] = {}

    def left(self, client: str, now_s: float) -> list[int]:
        """A list whose one number says how many answers the client's network may still get in the second of `now_s`.

        The caller lowers it by what each answer costs; below zero, the answer is over the limit. The list is of this
        second only.
        """
        if not self._begin_s <= now_s < self._end_s:
            self._begin_s = now_s // 1
            self._end_s = self._begin_s + 1
            self._of_client = {}
            self._buckets = {}
        left = self._of_client.get(client)
        return self._bucket(client) if left is None else left

    def _bucket(self, client: str) -> list[int]:
        number = hash(network_octets(client)) % _BUCKETS
        left = self._buckets.get(number)
        if left is None:
            left = self._buckets[number] = [self._per_s]
        if len(self._of_client) < _REMEMBERED_CLIENTS:
            self._of_client[client] = left
        return left
