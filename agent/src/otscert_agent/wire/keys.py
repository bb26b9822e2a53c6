"""Public keys and signatures of protocol v1: Ed25519 (RFC 8032) and ES256 (RFC 7518, section 3.4).

Knows JWK, thumbprint, verify, sign. Does not know where keys are kept or which key may do what.
Every signature made here is deterministic: Ed25519 by design, ES256 by RFC 6979, so a box without entropy
never signs with a weak nonce.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from otscert_agent.wire import b64, point
from otscert_agent.wire.errors import WireError

ED25519 = "Ed25519"  # RFC 9864, the fully specified name
ES256 = "ES256"

_ED25519_P = 2**255 - 19
# y coordinates of the eight points whose order divides 8 (either sign of x): 0, 1, -1 and the two of order 8.
# A signature under such a key is valid for many messages, and OpenSSL accepts the key.
_ED25519_SMALL_ORDER_Y = frozenset(
    {
        0,
        1,
        _ED25519_P - 1,
        0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7,
        0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826,
    }
)


@dataclass(frozen=True)
class PublicKey:
    """A validated device key: `alg` is Ed25519 (`raw` 32 bytes) or ES256 (`raw` a 65-byte SEC1 point)."""

    alg: str
    raw: bytes

    @classmethod
    def from_raw(cls, alg: str, raw: bytes) -> PublicKey:
        """Validate and wrap `raw`; raise `WireError` for points that must not be keys."""
        if alg == ED25519:
            _check_ed25519(raw)
        elif alg == ES256:
            point.coordinates(raw, what="ES256 key")
        else:
            raise WireError(f"key algorithm {alg!r} is not one of Ed25519, ES256")
        return cls(alg, raw)

    @classmethod
    def from_jwk(cls, jwk: Any) -> PublicKey:
        """Read a JWK (RFC 7517; RFC 8037 for Ed25519); raise `WireError` when it is not a usable public key."""
        if not isinstance(jwk, dict) or not all(isinstance(value, str) for value in jwk.values()):
            raise WireError("jwk is not an object of strings")
        if "d" in jwk:
            raise WireError("jwk contains a private key")
        kind = (jwk.get("kty"), jwk.get("crv"))
        if kind == ("OKP", "Ed25519"):
            return cls.from_raw(ED25519, b64.decode(jwk.get("x", ""), length=32, what="jwk x"))
        if kind == ("EC", "P-256"):
            x = b64.decode(jwk.get("x", ""), length=32, what="jwk x")
            y = b64.decode(jwk.get("y", ""), length=32, what="jwk y")
            return cls.from_raw(ES256, b"\x04" + x + y)
        raise WireError("jwk is neither Ed25519 nor P-256")

    def jwk(self) -> dict[str, str]:
        """The JWK with required members only, in RFC 7638's order."""
        if self.alg == ED25519:
            return {"crv": "Ed25519", "kty": "OKP", "x": b64.encode(self.raw)}
        return {"crv": "P-256", "kty": "EC", "x": b64.encode(self.raw[1:33]), "y": b64.encode(self.raw[33:])}

    def thumbprint(self) -> str:
        """RFC 7638 thumbprint (SHA-256, base64url): the key's name on the wire."""
        canonical = "{" + ",".join(f'"{name}":"{value}"' for name, value in self.jwk().items()) + "}"
        return b64.encode(hashlib.sha256(canonical.encode("ascii")).digest())

    def verify(self, signature: bytes, message: bytes) -> None:
        """Raise `WireError` unless `signature` (raw, JWS form) over `message` is this key's."""
        try:
            if self.alg == ED25519:
                ed25519.Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, message)
            else:
                _verify_es256(
                    ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), self.raw), signature, message
                )
        except (InvalidSignature, ValueError):
            raise WireError("the signature does not fit the message and the key") from None


def _check_ed25519(raw: bytes) -> None:
    if len(raw) != 32:
        raise WireError("Ed25519 key is not 32 bytes long")
    y = int.from_bytes(raw, "little") & (2**255 - 1)
    if y >= _ED25519_P:
        raise WireError("Ed25519 key is not in canonical form")
    if y in _ED25519_SMALL_ORDER_Y:
        raise WireError("Ed25519 key is a point of small order")


def _verify_es256(key: ec.EllipticCurvePublicKey, signature: bytes, message: bytes) -> None:
    if len(signature) != 64:
        raise InvalidSignature
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    key.verify(encode_dss_signature(r, s), message, ec.ECDSA(hashes.SHA256()))


class Signer:
    """A private key that signs protocol messages; made from Ed25519 or P-256 private keys of `cryptography`."""

    def __init__(self, key: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey) -> None:
        self._key = key
        if isinstance(key, ed25519.Ed25519PrivateKey):
            raw = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
            self.public = PublicKey.from_raw(ED25519, raw)
        else:
            raw = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
            self.public = PublicKey.from_raw(ES256, raw)

    @classmethod
    def from_seed(cls, seed: bytes) -> Signer:
        """An Ed25519 signer from its 32-byte seed."""
        return cls(ed25519.Ed25519PrivateKey.from_private_bytes(seed))

    def sign(self, message: bytes) -> bytes:
        if isinstance(self._key, ed25519.Ed25519PrivateKey):
            return self._key.sign(message)
        r, s = decode_dss_signature(self._key.sign(message, ec.ECDSA(hashes.SHA256(), deterministic_signing=True)))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")
