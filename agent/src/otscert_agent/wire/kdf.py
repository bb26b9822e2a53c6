"""Derivations and labels of protocol v1. HKDF is RFC 5869 over SHA-256; nothing here keeps a secret."""

from __future__ import annotations

import hashlib
import hmac

EXTRACT = b"otscert/v1/extract"
D0 = b"otscert/v1/d0"
IDENTITY = b"otscert/v1/id"
TOKEN = b"otscert/v1/token"
FACTORY = b"otscert/v1/factory"
FACTORY_SIGN = b"sign"
FACTORY_SEAL = b"seal"
FACTORY_SEED = b"seed"
FACTORY_MIX = b"mix"
SEALED_R = b"otscert/v1/r"


def hkdf_extract(salt: bytes, key_material: bytes) -> bytes:
    return hmac.new(salt or bytes(32), key_material, hashlib.sha256).digest()


def hkdf_expand(prk: bytes, info: bytes, length: int) -> bytes:
    """Expand `prk` to `length` bytes (at most 255*32, RFC 5869 section 2.3)."""
    out, block, counter = b"", b"", 1
    while len(out) < length:
        block = hmac.new(prk, block + info + bytes([counter]), hashlib.sha256).digest()
        out, counter = out + block, counter + 1
    return out[:length]


def hkdf(key_material: bytes, info: bytes, length: int = 32) -> bytes:
    return hkdf_expand(hkdf_extract(b"", key_material), info, length)


def identity_seed(id_seed: bytes, r: bytes, txid: bytes) -> bytes:
    """The 32-byte Ed25519 seed of a box's identity: its own secret and HQ's contribution, for this transaction."""
    return hkdf(id_seed + r, IDENTITY + txid)


def token_proof(token: bytes, txid: bytes, thumbprint: str) -> bytes:
    """Proof that the sender of this enrolment knows the model's claim token, without sending it."""
    return hmac.new(token, TOKEN + txid + thumbprint.encode("ascii"), hashlib.sha256).digest()
