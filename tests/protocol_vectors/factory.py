"""Vectors of a factory secret: a unit's keys and seeds, and contributions sealed to it."""

from __future__ import annotations

from typing import Any

from otscert_agent.wire import b64, kdf, point, sealed
from otscert_agent.wire.factory import Factory, check_seal_key, check_sign_key
from tests.protocol_vectors import fixed
from tests.protocol_vectors.encodings import rule

# u coordinates whose multiples are all of small order (RFC 7748, section 6.1): 0, 1, p-1 and one of the two of order 8.
_SMALL_ORDER = (
    bytes(32),
    b"\x01" + bytes(31),
    (2**255 - 20).to_bytes(32, "little"),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
)


def factory() -> dict[str, Any]:
    secret = fixed.octets("factory secret", 32)
    unit = Factory.from_bytes(secret)
    return {
        "secret_hex": secret.hex(),
        "text": unit.text(),
        "sign_info_hex": b"\x00".join((kdf.FACTORY, kdf.FACTORY_SIGN)).hex(),
        "sign_public_hex": unit.public.sign.raw.hex(),
        "thumbprint": unit.public.thumbprint(),
        "seal_info_hex": b"\x00".join((kdf.FACTORY, kdf.FACTORY_SEAL)).hex(),
        "seal_public_hex": unit.seal_public.hex(),
        "credit_seeds": [{"boot": boot, "seed_hex": unit.credit_seed(boot).hex()} for boot in (1, 10, 2**53 - 1)],
        "mixes": [{"attempt": attempt, "mix_hex": unit.mix(attempt).hex()} for attempt in (1, 10)],
        "unusable_secrets": [
            {"hex": data.hex(), "rule": rule(Factory.from_bytes, data)}
            for data in (bytes(32), b"\xff" * 32, secret[:31], secret + b"\x00")
        ],
        "unusable_seal_keys": [
            {"hex": data.hex(), "rule": rule(check_seal_key, data)} for data in (*_SMALL_ORDER, secret[:31])
        ],
        "unusable_sign_keys": [
            {"hex": data.hex(), "rule": rule(check_sign_key, data)} for data in (bytes(32), b"\x01" + bytes(31))
        ],
        "sealed": [_sealed(unit, name) for name in ("one", "two")],
        "unusable_ephemeral_keys": [
            {"hex": data.hex(), "rule": rule(_open, unit, data)} for data in (*_SMALL_ORDER, b"\x09" * 31)
        ],
    }


def _sealed(unit: Factory, name: str) -> dict[str, Any]:
    ephemeral, txid = fixed.octets(f"ephemeral {name}", 32), fixed.octets(f"sealed txid {name}", 16)
    digest = fixed.octets(f"H(hello) {name}", 32)
    r, e_public = sealed.contribution(ephemeral, unit.seal_public, txid=txid, hello_digest=digest)
    return {
        "ephemeral_private_hex": ephemeral.hex(),
        "sealed": b64.encode(e_public),
        "txid_hex": txid.hex(),
        "hello_digest_hex": digest.hex(),
        "info_hex": (kdf.SEALED_R + b"\x00" + txid + digest + e_public + unit.seal_public).hex(),
        "r_hex": point.encode_scalar(r).hex(),
    }


def _open(unit: Factory, ephemeral: bytes) -> int:
    return unit.open(ephemeral, txid=bytes(16), hello_digest=bytes(32))
