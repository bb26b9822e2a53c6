"""A million boxes in little memory: for each its addresses in one string of octets, and what it shares with others.

Knows how that string is cut, and which addresses a policy lets into the zone. Does not know names, types or answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from socket import AF_INET6, inet_pton
from typing import NamedTuple

from otscert.domain.addresses import AddressPolicy, IPAddress, Verdict
from otscert.zones.computed import ComputedNames
from otscert.zones.records import address_rdatas

Box = bytes
"""Two octets for the number of its kind, one for how many octets of IPv4 addresses follow, these, those of IPv6."""

BoxEntry = tuple[str, Sequence[IPAddress] | str, AddressPolicy]
"""A label, its addresses (or their texts with spaces between, as the store has them), and what holds for them."""

# Home networks have few addresses, so boxes have the same; one that differs from all is read again (10 us).
_REMEMBERED = 65_536
_HEAD_BYTES = 3
_MOST_KINDS = 2**16


@lru_cache(_REMEMBERED)
def _v4_address(text: str) -> IPv4Address:
    return IPv4Address(text)


def _address(text: str) -> IPAddress:
    # The C library reads a canonical text ten times as fast as `ipaddress`.
    return IPv6Address(inet_pton(AF_INET6, text)) if ":" in text else _v4_address(text)


class Kind(NamedTuple):
    """What all boxes of one policy have in common; `computed` is None where no names are computed below them."""

    computed: ComputedNames | None
    https: bool


class Boxes:
    """Boxes by their keys. `boxes` is read and changed by its owner, with values from here."""

    def __init__(self) -> None:
        self.boxes: dict[bytes, Box] = {}
        self._kinds: list[Kind] = []
        self._numbers: dict[AddressPolicy, bytes] = {}

    def kind(self, box: Box) -> Kind:
        """What it shares with others; equal for two boxes when it is the same object."""
        return self._kinds[box[0] << 8 | box[1]]

    def v4(self, box: Box) -> bytes:
        """Its IPv4 addresses, 4 octets each."""
        return box[_HEAD_BYTES : _HEAD_BYTES + box[2]]

    def v6(self, box: Box) -> bytes:
        """Its IPv6 addresses, 16 octets each."""
        return box[_HEAD_BYTES + box[2] :]

    def pack(self, published: Sequence[IPAddress], policy: AddressPolicy) -> tuple[Box, tuple[Verdict, ...]]:
        """Pack what the policy lets into the zone; the verdicts on the rest come back beside it."""
        return self._pack(published, policy, self._number(policy))

    def _pack(
        self, published: Sequence[IPAddress], policy: AddressPolicy, number: bytes
    ) -> tuple[Box, tuple[Verdict, ...]]:
        allowed = [address for address in published if policy.publishes(address)]
        refused: tuple[Verdict, ...] = ()
        if len(allowed) != len(published):
            refused = tuple(policy.judge(address) for address in published if not policy.publishes(address))
        v4, v6 = address_rdatas(allowed)
        return b"%b%c%b%b" % (number, len(v4), v4, v6), refused

    def fill(self, entries: Iterable[BoxEntry], key: Callable[[str], bytes]) -> list[Verdict]:
        """Take up boxes, one by one as they come; returns the verdicts on addresses that were left out.

        Raises what `key` raises for a label.
        """
        all_refused: list[Verdict] = []
        # By the policy's identity: to compare two costs more than all the rest. Each is held, so that it stays itself.
        known: dict[int, tuple[AddressPolicy, bytes, dict[str, Box]]] = {}
        boxes = self.boxes
        for label, published, policy in entries:
            box: Box | None = None
            if isinstance(published, str):
                of_policy = known.get(id(policy))
                if of_policy is None:
                    of_policy = known[id(policy)] = (policy, self._number(policy), {})
                _, number, packed = of_policy
                box = packed.get(published)
                if box is None:
                    box, refused = self._pack([_address(text) for text in published.split()], policy, number)
                    all_refused += refused
                    if len(packed) >= _REMEMBERED:
                        packed.clear()
                    packed[published] = box
            else:
                box, refused = self.pack(published, policy)
                all_refused += refused
            boxes[key(label)] = box
        return all_refused

    def _number(self, policy: AddressPolicy) -> bytes:
        number = self._numbers.get(policy)
        if number is None:
            if len(self._kinds) >= _MOST_KINDS:
                raise OverflowError("more policies than there can be models; load the zone anew")
            number = self._numbers[policy] = len(self._kinds).to_bytes(2)
            self._kinds.append(Kind(ComputedNames(policy) if policy.computed_names else None, policy.https_record))
        return number
