"""ACME's request JWS (RFC 8555 section 6.2) signed with ES256 (RFC 7518 section 3.4), and the account key that does it.

Only P-256: measured, an RSA-2048 signature costs ten times as much. It does not know nonces' or URLs' origin.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from otscert.acme.errors import AccountKeyError
from otscert_agent.wire import b64

_COORDINATE_BYTES = 32


class AccountKey:
    """The private key of an ACME account. Its `repr` shows the thumbprint, never the key."""

    __slots__ = ("_private", "jwk", "thumbprint")

    def __init__(self, private: ec.EllipticCurvePrivateKey) -> None:
        """Take a P-256 key.

        Raises:
            AccountKeyError: when it is on another curve.
        """
        if not isinstance(private.curve, ec.SECP256R1):
            raise AccountKeyError(f"an account key must be on P-256, not on {private.curve.name}")
        self._private = private
        point = private.public_key().public_numbers()
        self.jwk: Mapping[str, str] = {
            "crv": "P-256",
            "kty": "EC",
            "x": b64.encode(point.x.to_bytes(_COORDINATE_BYTES, "big")),
            "y": b64.encode(point.y.to_bytes(_COORDINATE_BYTES, "big")),
        }
        # RFC 7638 section 3: the required members in lexicographic order, without white space.
        self.thumbprint = b64.encode(hashlib.sha256(msgspec.json.encode(self.jwk, order="sorted")).digest())

    @classmethod
    def from_pem(cls, pem: bytes) -> AccountKey:
        """Read an unencrypted PEM private key.

        Raises:
            AccountKeyError: when it is none, or not on P-256. The message never quotes the input.
        """
        try:
            private = load_pem_private_key(pem, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise AccountKeyError("the account key is not an unencrypted PEM private key") from None
        if not isinstance(private, ec.EllipticCurvePrivateKey):
            raise AccountKeyError("the account key is not an ECDSA key")
        return cls(private)

    def __repr__(self) -> str:
        return f"AccountKey(thumbprint={self.thumbprint!r})"

    def sign(self, *, url: str, nonce: str, payload: object | None, kid: str | None) -> bytes:
        """Return the request body for `url`: flattened JSON, `jwk` in the header exactly when there is no `kid`.

        A payload of None is POST-as-GET, whose payload is "a zero-length octet string" (RFC 8555 section 6.3).
        """
        header: dict[str, object] = {"alg": "ES256", "nonce": nonce, "url": url}
        if kid is None:
            header["jwk"] = self.jwk
        else:
            header["kid"] = kid
        protected = b64.encode(msgspec.json.encode(header))
        body = "" if payload is None else b64.encode(msgspec.json.encode(payload))
        signature = b64.encode(self._signature(f"{protected}.{body}".encode("ascii")))
        return f'{{"protected":"{protected}","payload":"{body}","signature":"{signature}"}}'.encode("ascii")

    def key_change(self, *, url: str, account_url: str, old_jwk: Mapping[str, str]) -> dict[str, str]:
        """Return the inner JWS of keyChange, signed by this, the new key (RFC 8555 section 7.3.5)."""
        protected = b64.encode(msgspec.json.encode({"alg": "ES256", "jwk": self.jwk, "url": url}))
        payload = b64.encode(msgspec.json.encode({"account": account_url, "oldKey": old_jwk}))
        signature = b64.encode(self._signature(f"{protected}.{payload}".encode("ascii")))
        return {"protected": protected, "payload": payload, "signature": signature}

    def _signature(self, message: bytes) -> bytes:
        r, s = decode_dss_signature(self._private.sign(message, ec.ECDSA(SHA256())))
        return r.to_bytes(_COORDINATE_BYTES, "big") + s.to_bytes(_COORDINATE_BYTES, "big")
