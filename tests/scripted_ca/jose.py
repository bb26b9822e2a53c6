"""The server's side of ACME's JWS (RFC 8555 section 6.2): parse, and verify ES256 and EAB. It knows no accounts."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from typing import Any

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from tests.scripted_ca.problems import AcmeProblem

MAC_DIGESTS = {"HS256": "sha256", "HS384": "sha384", "HS512": "sha512"}
ES256 = ec.ECDSA(hashes.SHA256())


class Envelope(msgspec.Struct, forbid_unknown_fields=True):
    """The flattened JSON serialization; RFC 8555 section 6.2 forbids an unprotected header."""

    protected: str
    payload: str
    signature: str

    @property
    def signed(self) -> bytes:
        return f"{self.protected}.{self.payload}".encode("ascii")


class Header(msgspec.Struct):
    """The protected header; `nonce` is absent in an external account binding."""

    alg: str
    url: str
    nonce: str | None = None
    kid: str | None = None
    jwk: dict[str, Any] | None = None


_ENVELOPE = msgspec.json.Decoder(Envelope)
_HEADER = msgspec.json.Decoder(Header)
_OBJECT = msgspec.json.Decoder(dict[str, Any])


def unb64(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise AcmeProblem("malformed", "not base64url") from None


def parse(body: bytes) -> tuple[Envelope, Header]:
    try:
        envelope = _ENVELOPE.decode(body)
        return envelope, _HEADER.decode(unb64(envelope.protected))
    except msgspec.MsgspecError as error:
        raise AcmeProblem("malformed", f"not a JWS: {error}") from None


def public_key(jwk: dict[str, Any]) -> ec.EllipticCurvePublicKey:
    if jwk.get("kty") != "EC" or jwk.get("crv") != "P-256" or set(jwk) != {"kty", "crv", "x", "y"}:
        raise AcmeProblem("badPublicKey", "this CA takes P-256 account keys")
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\x04" + unb64(jwk["x"]) + unb64(jwk["y"]))
    except ValueError:
        raise AcmeProblem("badPublicKey", "not a point on P-256") from None


def thumbprint(jwk: dict[str, Any]) -> str:
    canonical = f'{{"crv":"{jwk["crv"]}","kty":"{jwk["kty"]}","x":"{jwk["x"]}","y":"{jwk["y"]}"}}'
    return base64.urlsafe_b64encode(hashlib.sha256(canonical.encode()).digest()).rstrip(b"=").decode()


def verify(envelope: Envelope, key: ec.EllipticCurvePublicKey) -> None:
    signature = unb64(envelope.signature)
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    try:
        key.verify(encode_dss_signature(r, s), envelope.signed, ES256)
    except InvalidSignature:
        raise AcmeProblem("malformed", "the signature does not verify") from None


def payload(envelope: Envelope) -> dict[str, Any] | None:
    """The payload's members; None for the empty one of a POST-as-GET."""
    if not envelope.payload:
        return None
    try:
        return _OBJECT.decode(unb64(envelope.payload))
    except msgspec.MsgspecError:
        raise AcmeProblem("malformed", "the payload is not a JSON object") from None


def verify_binding(binding: Any, keys: dict[str, str], url: str, jwk: dict[str, Any]) -> str:
    """Check an external account binding (RFC 8555 section 7.3.4) and return its kid."""
    envelope, header = parse(msgspec.json.encode(binding))
    mac_key = keys.get(header.kid or "")
    digest = MAC_DIGESTS.get(header.alg)
    if mac_key is None or digest is None or header.url != url or header.nonce is not None:
        raise AcmeProblem("unauthorized", "the external account binding's header is not acceptable", 403)
    expected = hmac.digest(unb64(mac_key), envelope.signed, digest)
    if not hmac.compare_digest(expected, unb64(envelope.signature)):
        raise AcmeProblem("unauthorized", "the external account binding does not verify", 403)
    if msgspec.json.decode(unb64(envelope.payload)) != jwk:
        raise AcmeProblem("malformed", "the external account binding is for another key")
    return header.kid or ""
