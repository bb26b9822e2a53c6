"""What a key is entered under in the index of every key ever verified: two values that no two keys may share.

Knows public keys only, of certificates and of identities alike. Does not know who showed them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from otscert_agent.wire.keys import ED25519, PublicKey

AnyPublicKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyIndex:
    """`spki_sha256` is of the DER SubjectPublicKeyInfo (RFC 5280, section 4.1), as certificates and CAs name a key."""

    spki_sha256: bytes
    x_coordinate: bytes
    """What a key shares with the keys that are as good as the same: see `_same_secret`."""


def index_of(key: AnyPublicKey) -> KeyIndex:
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return KeyIndex(spki_sha256=hashlib.sha256(spki).digest(), x_coordinate=_same_secret(key))


def index_of_device_key(key: PublicKey) -> KeyIndex:
    """The same of an identity or a factory key, so that one key cannot be both an identity's and a certificate's."""
    if key.alg == ED25519:
        return index_of(ed25519.Ed25519PublicKey.from_public_bytes(key.raw))
    return index_of(ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), key.raw))


def _same_secret(key: AnyPublicKey) -> bytes:
    """Who knows one private key knows every other one with this value.

    d and n-d share the x coordinate on P-256, and the y coordinate on edwards25519 (RFC 8032, section 5.1.2: the top
    bit of the last octet is the sign of x). An RSA key is as weak as its modulus, whatever its exponent.
    """
    if isinstance(key, rsa.RSAPublicKey):
        numbers = key.public_numbers()
        return hashlib.sha256(numbers.n.to_bytes((numbers.n.bit_length() + 7) // 8, "big")).digest()
    if isinstance(key, ed25519.Ed25519PublicKey):
        raw = key.public_bytes(Encoding.Raw, PublicFormat.Raw)
        return raw[:31] + bytes([raw[31] & 0x7F])
    return key.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)[1:]
