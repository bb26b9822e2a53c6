"""HQ's contribution for a box with a factory secret: `r` is derived on both sides and never travels.

docs/protocol.md, "Contribution": HQ draws an X25519 key pair E for one challenge and sends E's public half; the box
answers with its factory key F_seal alone, so opening needs no randomness. Knows the derivation only.
"""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from otscert_agent.wire import kdf, point
from otscert_agent.wire.errors import WireError

KEY_BYTES = 32


def public_bytes(key: X25519PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def contribution(ephemeral: bytes, factory_public: bytes, *, txid: bytes, hello_digest: bytes) -> tuple[int, bytes]:
    """HQ's side: `r` and E's public half, from 32 random bytes that are used once and then forgotten.

    Raises `WireError` when the unit's factory key is of small order (RFC 7748, section 6.1: an all-zero result).
    """
    private = X25519PrivateKey.from_private_bytes(ephemeral)
    e_public = public_bytes(private)
    shared = _exchange(private, factory_public)
    return _scalar(shared, txid, hello_digest, e_public, factory_public), e_public


def opened(factory: X25519PrivateKey, e_public: bytes, *, txid: bytes, hello_digest: bytes) -> int:
    """The box's side: the same `r`; raise `WireError` for an E that is no X25519 key or gives an all-zero result."""
    shared = _exchange(factory, e_public)
    return _scalar(shared, txid, hello_digest, e_public, public_bytes(factory))


def _exchange(private: X25519PrivateKey, public: bytes) -> bytes:
    if len(public) != KEY_BYTES:
        raise WireError("an X25519 public key has 32 bytes")
    try:
        return private.exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError:  # OpenSSL refuses the all-zero result itself
        raise WireError("the X25519 key is of small order") from None


def _scalar(shared: bytes, txid: bytes, hello_digest: bytes, e_public: bytes, factory_public: bytes) -> int:
    info = kdf.SEALED_R + b"\x00" + txid + hello_digest + e_public + factory_public
    return point.scalar_from_bytes(kdf.hkdf(shared, info, 48))
