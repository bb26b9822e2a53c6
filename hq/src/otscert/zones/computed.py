"""Names that say their own address: `192-168-1-20` or 32 hexadecimal digits below a box's label.

Knows the spelling and asks the model's policy. Does not know labels, TTLs or packets.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from otscert.domain.addresses import AddressPolicy, IPAddress

# Strangers choose these names; a bounded memory of verdicts saves 5 us for the LAN addresses that are asked for daily.
_REMEMBERED = 16_384

_HEX_DIGITS = frozenset(b"0123456789abcdef")


def address_label(address: IPAddress) -> str:
    """Spell an address as a label: IPv4 in decimal with hyphens, IPv6 as 32 hexadecimal digits.

    IPv6 is spelled in full because `--` in the third and fourth place of a label is refused by CAs and IDNA code.
    """
    if isinstance(address, IPv4Address):
        return str(address).replace(".", "-")
    return address.packed.hex()


def labelled_address(label: bytes) -> IPAddress | None:
    """Read a lower-cased label as `address_label` writes it; any other spelling is None, so each name is unique."""
    if len(label) == 32:
        return IPv6Address(bytes.fromhex(label.decode("ascii"))) if _HEX_DIGITS.issuperset(label) else None
    octets = label.split(b"-")
    if len(octets) != 4:
        return None
    packed = bytearray()
    for octet in octets:
        # bytes.isdigit knows ASCII digits only; a leading zero would be octal to some and a second name to others.
        if not octet.isdigit() or len(octet) > 3 or (octet[0] == 0x30 and len(octet) > 1):
            return None
        value = int(octet)
        if value > 255:
            return None
        packed.append(value)
    return IPv4Address(bytes(packed))


class ComputedNames:
    """What one policy lets be computed: from a label to the packed address, remembered within bounds."""

    __slots__ = ("_remembered", "policy")

    def __init__(self, policy: AddressPolicy) -> None:
        self.policy = policy
        self._remembered: dict[bytes, bytes | None] = {}

    def packed(self, label: bytes) -> bytes | None:
        """The 4 or 16 octets that the lower-cased label stands for, None when there is no such name."""
        try:
            return self._remembered[label]
        except KeyError:
            return self._remember(label)

    def _remember(self, label: bytes) -> bytes | None:
        address = labelled_address(label)
        if address is None:
            return None
        packed = address.packed if self.policy.allows(address) else None
        if len(self._remembered) >= _REMEMBERED:
            self._remembered.clear()
        self._remembered[label] = packed
        return packed
