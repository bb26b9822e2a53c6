"""Names of boxes: made from HQ's randomness, never from MAC, serial or key, and never used twice.

A label is an identifier, not a secret: every certificate's name is public in Certificate Transparency.
"""

from __future__ import annotations

import re

from otscert.domain.admission import Naming
from otscert.domain.errors import DomainError
from otscert.domain.words import ADJECTIVES, SURNAMES

RANDOM_BYTES = 10
# RFC 4648 base32, lower case: no 0/1/8/9 to mistake for O/I/B/g, and valid at every position of a DNS label.
_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
_LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)\Z")
MAX_ZONE_LENGTH = 156
"""Leaves room for a label of 63 and an address of 32 digits in front of it (RFC 1035, section 2.3.4: 255 octets)."""


def make_label(naming: Naming, randomness: bytes) -> str:
    """Make a label from `RANDOM_BYTES` random bytes: 80 bits opaque, or two words and 20 bits."""
    if len(randomness) != RANDOM_BYTES:
        raise ValueError(f"a label needs {RANDOM_BYTES} random bytes")
    number = int.from_bytes(randomness, "big")
    if naming is Naming.OPAQUE:
        return _base32(number, 16)
    number, adjective = divmod(number, len(ADJECTIVES))
    number, surname = divmod(number, len(SURNAMES))
    return f"{ADJECTIVES[adjective]}-{SURNAMES[surname]}-{_base32(number, 4)}"


def _base32(number: int, length: int) -> str:
    return "".join(_ALPHABET[number >> (5 * place) & 31] for place in range(length))


def certificate_names(label: str, zone: str) -> tuple[str, str]:
    """The two names of a box's certificate: its own, and the wildcard that covers addresses in names."""
    return f"{label}.{zone}", f"*.{label}.{zone}"


def parse_zone(text: str) -> str:
    """Read the zone's name, lower case and without a final dot; raise `DomainError` when it cannot be one."""
    zone = text.strip().rstrip(".").lower()
    labels = zone.split(".")
    if len(labels) < 2 or len(zone) > MAX_ZONE_LENGTH or not all(_LABEL.match(label) for label in labels):
        raise DomainError(
            f"{text!r} is not a DNS zone: write a name such as boxes.example.com "
            f"(letters, digits and hyphens, at least two labels, at most {MAX_ZONE_LENGTH} characters)"
        )
    return zone
