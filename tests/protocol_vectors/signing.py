"""Vectors of signatures and envelopes: what verifies, what does not, and what is refused before a key is looked at."""

from __future__ import annotations

import json
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from otscert_agent.wire import b64, jws
from otscert_agent.wire.keys import Signer
from tests.protocol_vectors import fixed
from tests.protocol_vectors.encodings import rule

# RFC 6979, appendix A.2.5, and RFC 8032, section 7.1, TEST 1: a reader can check his library with these alone.
RFC6979_SCALAR = 0xC9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721
RFC8032_SEED = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")


def signatures() -> dict[str, Any]:
    p256 = Signer(ec.derive_private_key(RFC6979_SCALAR, ec.SECP256R1()))
    ed25519 = Signer.from_seed(RFC8032_SEED)
    p256_private = RFC6979_SCALAR.to_bytes(32, "big").hex()
    raw = [(ed25519, RFC8032_SEED.hex(), b""), (p256, p256_private, b"sample"), (p256, p256_private, b"test")]
    signed = [
        _signed(ed25519, RFC8032_SEED.hex(), {"typ": "otscert-v1-example", "seq": 1}, b'{"a":1}'),
        _signed(ed25519, RFC8032_SEED.hex(), {"typ": "otscert-v1-example", "seq": 2**53 - 1}, b""),
        _signed(p256, p256_private, {"typ": "otscert-v1-example", "seq": 1}, b'{"a":1}'),
    ]
    return {
        "raw": [
            {
                "alg": signer.public.alg,
                "private_hex": private,
                "message_hex": message.hex(),
                "signature_hex": signer.sign(message).hex(),
            }
            for signer, private, message in raw
        ],
        "signed": signed,
        "not_verified": [_not_verified(*case) for case in _tampered(ed25519, p256)],
    }


def _signed(signer: Signer, private: str, header: dict[str, Any], payload: bytes) -> dict[str, Any]:
    body = jws.sign(signer, header, payload)
    message = jws.parse(body)
    return {
        "alg": signer.public.alg,
        "private_hex": private,
        "jwk": signer.public.jwk(),
        "thumbprint": signer.public.thumbprint(),
        "protected": b64.decode(json.loads(body)["protected"]).decode(),
        "payload_hex": payload.hex(),
        "body": body.decode(),
        "digest_hex": message.digest().hex(),
    }


def _tampered(ed25519: Signer, p256: Signer) -> list[tuple[str, Signer, dict[str, str]]]:
    good = json.loads(jws.sign(ed25519, {"typ": "t"}, b"{}"))
    by_p256 = json.loads(jws.sign(p256, {"typ": "t"}, b"{}"))
    r_s = b64.decode(by_p256["signature"])
    der = bytes([0x30, 68, 2, 32]) + r_s[:32] + bytes([2, 32]) + r_s[32:]

    def protected(alg: str) -> str:
        return b64.encode(json.dumps({"typ": "t", "alg": alg}, separators=(",", ":")).encode())

    return [
        ("another payload", ed25519, {**good, "payload": b64.encode(b"[]")}),
        ("a bit of the signature", ed25519, {**good, "signature": "A" + good["signature"][1:]}),
        (
            "a signature that is too short",
            ed25519,
            {**good, "signature": b64.encode(b64.decode(good["signature"])[:63])},
        ),
        ("another key", p256, by_p256 | {"signature": b64.encode(fixed.octets("junk", 64))}),
        ("an ES256 signature in DER", p256, {**by_p256, "signature": b64.encode(der)}),
        ("an ES256 signature of zeros", p256, {**by_p256, "signature": b64.encode(bytes(64))}),
        ("alg none", ed25519, {**good, "protected": protected("none"), "signature": ""}),
        ("alg HS256 for a public key", ed25519, {**good, "protected": protected("HS256")}),
        ("alg EdDSA, the polymorphic name that RFC 9864 ends", ed25519, {**good, "protected": protected("EdDSA")}),
        ("alg of the other kind of key", p256, good),
    ]


def _not_verified(name: str, signer: Signer, envelope: dict[str, str]) -> dict[str, Any]:
    body = json.dumps(envelope, separators=(",", ":"))
    refused = rule(jws.parse(body.encode()).verify, signer.public)
    return {"name": name, "jwk": signer.public.jwk(), "body": body, "rule": refused}


def envelopes() -> list[dict[str, Any]]:
    """Bodies that are refused before any key is looked at."""
    good = {"protected": b64.encode(b'{"typ":"t","alg":"Ed25519"}'), "payload": "e30", "signature": "AA"}

    def head(text: bytes) -> str:
        return json.dumps({**good, "protected": b64.encode(text)})

    bodies: list[tuple[str, str]] = [
        ("not JSON", "{"),
        ("not an object", "[]"),
        ("an unprotected header", json.dumps({**good, "header": {"kid": "x"}})),
        ("the general serialization", json.dumps({"payload": "e30", "signatures": [good]})),
        ("no signature", json.dumps({"protected": good["protected"], "payload": "e30"})),
        ("a signature that is no string", json.dumps({**good, "signature": 5})),
        ("a member twice", json.dumps(good)[:-1] + ',"payload":"e30"}'),
        ("padded base64url", json.dumps({**good, "payload": "e30="})),
        ("base64url with bits left over", json.dumps({**good, "payload": "e31"})),
        ("a header that is not JSON", head(b"\xff")),
        ("a header that is a list", head(b"[]")),
        ("a header member twice", head(b'{"typ":"t","typ":"u","alg":"Ed25519"}')),
        ("no typ", head(b'{"alg":"Ed25519"}')),
        ("no alg", head(b'{"typ":"t"}')),
        ("crit", head(b'{"typ":"t","alg":"Ed25519","crit":["b64"],"b64":false}')),
        ("NaN", head(b'{"typ":"t","alg":"Ed25519","seq":NaN}')),
        ("a number of 21 digits", head(b'{"typ":"t","alg":"Ed25519","seq":' + b"9" * 21 + b"}")),
        ("65537 bytes", "{" * (jws.MAX_BYTES + 1)),
    ]
    return [_refused_body(name, body) for name, body in bodies]


def _refused_body(name: str, body: str) -> dict[str, Any]:
    refused = rule(jws.parse, body.encode())
    if len(body) > jws.MAX_BYTES:  # said, not spelled out
        return {"name": name, "repeat": {"text": body[0], "times": len(body)}, "rule": refused}
    return {"name": name, "body": body, "rule": refused}
