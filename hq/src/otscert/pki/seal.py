"""Encryption of single values at rest, by a key outside the database (AES-256-GCM, RFC 5116).

A stolen database gives nothing that impersonates HQ or a box. The purpose is authenticated with the value, so a sealed
value cannot be moved from one column to another.
"""

from __future__ import annotations

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32
_NONCE_BYTES = 12


class SealBroken(Exception):
    """The value was not sealed by this key for this purpose, or was changed."""


class Seal:
    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"the store key must be {KEY_BYTES} bytes long")
        self._cipher = AESGCM(key)

    def close(self, value: bytes, *, purpose: str) -> bytes:
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, value, purpose.encode())

    def open(self, sealed: bytes, *, purpose: str) -> bytes:
        try:
            return self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], purpose.encode())
        except (InvalidTag, ValueError):
            raise SealBroken(
                f"the sealed {purpose} does not open: is the store key the one it was made with?"
            ) from None
