"""Vectors of device keys: accepted ones with their thumbprints, and every kind that must not be a key."""

from __future__ import annotations

from typing import Any

from otscert_agent.wire import b64, point
from otscert_agent.wire.keys import PublicKey, Signer
from tests.protocol_vectors import fixed
from tests.protocol_vectors.encodings import rule

ED25519_P = 2**255 - 19


def keys() -> dict[str, Any]:
    ed25519, p256 = fixed.ed25519("device"), Signer(fixed.p256("device"))
    return {
        "valid": [
            {"jwk": s.public.jwk(), "alg": s.public.alg, "thumbprint": s.public.thumbprint()} for s in (ed25519, p256)
        ],
        "invalid": [_refused_key(name, jwk) for name, jwk in _bad_keys(ed25519, p256)],
    }


def _bad_keys(ed25519: Signer, p256: Signer) -> list[tuple[str, dict[str, Any]]]:
    okp, ec = ed25519.public.jwk(), p256.public.jwk()
    x, y = p256.public.raw[1:33], p256.public.raw[33:]
    other_y = (int.from_bytes(y, "big") + 1).to_bytes(32, "big")
    small = [("the neutral element (y = 1)", 1), ("order 2 (y = -1)", ED25519_P - 1), ("order 4 (y = 0)", 0)]
    small += [(f"order 8 ({n})", value) for n, value in enumerate(_order_eight(), 1)]
    small += [("not canonical (y = p)", ED25519_P), ("not canonical (y = p + 1)", ED25519_P + 1)]
    bad: list[tuple[str, dict[str, Any]]] = []
    for name, value in small:
        for sign in (0, 1):
            raw = (value | sign << 255).to_bytes(32, "little")
            bad.append((f"Ed25519, {name}, sign bit {sign}", {**okp, "x": b64.encode(raw)}))
    return [
        *bad,
        ("Ed25519 of 31 bytes", {**okp, "x": b64.encode(bytes(31))}),
        ("a private key", {**okp, "d": b64.encode(bytes(32))}),
        ("Ed448", {"kty": "OKP", "crv": "Ed448", "x": b64.encode(bytes(57))}),
        ("a symmetric key", {"kty": "oct", "k": "AAAA"}),
        ("P-256, not on the curve", {**ec, "y": b64.encode(other_y)}),
        ("P-256, x of 33 bytes", {**ec, "x": b64.encode(b"\x00" + x)}),
        ("P-256, coordinates of zero", {**ec, "x": b64.encode(bytes(32)), "y": b64.encode(bytes(32))}),
        ("P-256, x = p", {**ec, "x": b64.encode(point.P.to_bytes(32, "big"))}),
        ("P-384", {**ec, "crv": "P-384"}),
        ("a member that is no string", {**okp, "use": 1}),
    ]


def _order_eight() -> list[int]:
    """The y coordinates of the points of order 8 on edwards25519, worked out here and not copied from the code."""
    # -x^2 + y^2 = 1 + d*x^2*y^2; doubling gives y = (x^2 + y^2) / (1 - d*x^2*y^2). It is 0, a point of order 4, for
    # x^2 = -y^2. Then 2*y^2 = 1 - d*y^4, so y^2 = (-1 +- sqrt(1 + d)) / d.
    d = -121665 * pow(121666, -1, ED25519_P) % ED25519_P
    root = _square_roots(1 + d)[0]
    squares = [(sign * root - 1) * pow(d, -1, ED25519_P) for sign in (1, -1)]
    return sorted(y for square in squares for y in _square_roots(square))


def _square_roots(value: int) -> list[int]:
    # p = 5 mod 8 (RFC 8032, section 5.1.3).
    for factor in (1, pow(2, (ED25519_P - 1) // 4, ED25519_P)):
        root = pow(value, (ED25519_P + 3) // 8, ED25519_P) * factor % ED25519_P
        if root * root % ED25519_P == value % ED25519_P:
            return [root, ED25519_P - root]
    return []


def _refused_key(name: str, jwk: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "jwk": jwk, "rule": rule(PublicKey.from_jwk, jwk)}
