"""The factory's vectors, by the formulas of docs/protocol.md written out with another library's HKDF and X25519."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from otscert_agent.wire import b64, point, sealed
from otscert_agent.wire.errors import WireError
from otscert_agent.wire.factory import Factory, check_seal_key, check_sign_key
from tests.protocol_vectors import files

V: dict[str, Any] = json.loads(files.VECTORS.read_text(encoding="utf-8"))["factory"]
SECRET = bytes.fromhex(V["secret_hex"])
UNIT = Factory.from_bytes(SECRET)


def derived(*purpose: bytes) -> bytes:
    info = b"\x00".join((b"otscert/v1/factory", *purpose))
    return HKDF(hashes.SHA256(), 32, None, info).derive(SECRET)


def test_the_keys_of_a_unit_come_from_its_secret() -> None:
    assert Factory.from_text(V["text"]) == UNIT
    sign = Ed25519PrivateKey.from_private_bytes(derived(b"sign")).public_key()
    assert sign.public_bytes(Encoding.Raw, PublicFormat.Raw).hex() == V["sign_public_hex"]
    seal = X25519PrivateKey.from_private_bytes(derived(b"seal")).public_key()
    assert seal.public_bytes(Encoding.Raw, PublicFormat.Raw).hex() == V["seal_public_hex"] == UNIT.seal_public.hex()
    assert V["thumbprint"] == UNIT.public.thumbprint()


def test_seeds_and_mixes_come_from_the_counters() -> None:
    for case in V["credit_seeds"]:
        assert derived(b"seed", str(case["boot"]).encode()).hex() == case["seed_hex"]
    for case in V["mixes"]:
        assert derived(b"mix", str(case["attempt"]).encode()).hex() == case["mix_hex"]


@pytest.mark.parametrize("case", V["sealed"])
def test_both_sides_derive_r_and_it_does_not_travel(case: dict[str, str]) -> None:
    txid, digest = bytes.fromhex(case["txid_hex"]), bytes.fromhex(case["hello_digest_hex"])
    ephemeral, e_public = bytes.fromhex(case["ephemeral_private_hex"]), b64.decode(case["sealed"])
    seal_public = bytes.fromhex(V["seal_public_hex"])
    info = b"otscert/v1/r\x00" + txid + digest + e_public + seal_public
    assert info.hex() == case["info_hex"]
    shared = X25519PrivateKey.from_private_bytes(derived(b"seal")).exchange(X25519PublicKey.from_public_bytes(e_public))
    okm = HKDF(hashes.SHA256(), 48, b"", info).derive(shared)
    r = int.from_bytes(okm, "big") % (point.N - 1) + 1
    assert point.encode_scalar(r).hex() == case["r_hex"]
    assert UNIT.open(e_public, txid=txid, hello_digest=digest) == r
    assert sealed.contribution(ephemeral, seal_public, txid=txid, hello_digest=digest) == (r, e_public)


@pytest.mark.parametrize("changed", ["txid", "hello", "ephemeral", "unit"])
def test_r_is_bound_to_transaction_hello_ephemeral_and_unit(changed: str) -> None:
    case = V["sealed"][0]
    txid, digest = bytes.fromhex(case["txid_hex"]), bytes.fromhex(case["hello_digest_hex"])
    e_public, unit = b64.decode(case["sealed"]), UNIT
    if changed == "txid":
        txid = bytes([txid[0] ^ 1]) + txid[1:]
    elif changed == "hello":
        digest = bytes([digest[0] ^ 1]) + digest[1:]
    elif changed == "ephemeral":
        e_public = b64.decode(V["sealed"][1]["sealed"])
    else:
        unit = Factory.from_bytes(SECRET[::-1])
    assert unit.open(e_public, txid=txid, hello_digest=digest) != int(case["r_hex"], 16)


def test_what_cannot_be_a_key_is_refused() -> None:
    for case in V["unusable_secrets"]:
        with pytest.raises(WireError):
            Factory.from_bytes(bytes.fromhex(case["hex"]))
    for case in V["unusable_seal_keys"]:
        with pytest.raises(WireError):
            check_seal_key(bytes.fromhex(case["hex"]))
        with pytest.raises(WireError):
            sealed.contribution(b"\x01" * 32, bytes.fromhex(case["hex"]), txid=bytes(16), hello_digest=bytes(32))
    for case in V["unusable_sign_keys"]:
        with pytest.raises(WireError):
            check_sign_key(bytes.fromhex(case["hex"]))
    for case in V["unusable_ephemeral_keys"]:
        with pytest.raises(WireError):
            UNIT.open(bytes.fromhex(case["hex"]), txid=bytes(16), hello_digest=bytes(32))
