"""Object identifiers of HQ's own certificates (docs/protocol.md, "HQ's certificates").

The arc is below 2.25 (ITU-T X.667: any UUID is its own registration). Not a profile: who may issue what is HQ's `pki`.
"""

from __future__ import annotations

_ARC = "2.25.36719785693173669699001028884278515254"

EKU_ANSWER = _ARC + ".1"
"""Extended key usage of the answer certificate: critical, alone, so that it can never serve TLS."""

EXT_GENERATION = _ARC + ".2"
"""Extension of HQ's TLS leaf and answer certificate: a DER INTEGER that only ever rises."""


def encode_generation(generation: int) -> bytes:
    """DER INTEGER of `generation` (0 .. 2^31-1)."""
    body = generation.to_bytes(generation.bit_length() // 8 + 1, "big")
    return bytes([2, len(body)]) + body


def decode_generation(der: bytes) -> int:
    """Read the extension's value; raise `ValueError` when it is not a small non-negative DER INTEGER."""
    if len(der) < 3 or der[0] != 2 or der[1] != len(der) - 2 or len(der) > 6:
        raise ValueError("the generation is not a DER INTEGER")
    value = int.from_bytes(der[2:], "big", signed=True)
    if value < 0 or encode_generation(value) != der:
        raise ValueError("the generation is negative or not minimally encoded")
    return value
