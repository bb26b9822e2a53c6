"""base64url without padding (RFC 7515, section 2), strict: one byte string has exactly one accepted spelling."""

from __future__ import annotations

import base64
import binascii
import re

from otscert_agent.wire.errors import WireError

_ALPHABET = re.compile(r"[A-Za-z0-9_-]*\Z")


def encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def decode(text: str, *, length: int | None = None, what: str = "value") -> bytes:
    """Decode `text`; raise `WireError` naming `what` when it is malformed or not `length` bytes long."""
    if _ALPHABET.match(text) is None:
        raise WireError(f"{what} is not base64url without padding")
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        raise WireError(f"{what} is not base64url without padding") from None
    # Unused trailing bits must be zero, or two texts would name the same bytes (RFC 4648, section 3.5).
    if encode(data) != text:
        raise WireError(f"{what} has base64url bits that are not canonical")
    if length is not None and len(data) != length:
        raise WireError(f"{what} is {len(data)} bytes long, not {length}")
    return data
