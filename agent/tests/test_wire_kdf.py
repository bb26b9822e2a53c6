from __future__ import annotations

import hashlib
import hmac

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st

from otscert_agent.wire import kdf, pki


def test_the_first_test_case_of_rfc_5869() -> None:
    prk = kdf.hkdf_extract(bytes.fromhex("000102030405060708090a0b0c"), b"\x0b" * 22)
    assert prk.hex() == "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5"
    okm = kdf.hkdf_expand(prk, bytes.fromhex("f0f1f2f3f4f5f6f7f8f9"), 42)
    expected = "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"
    assert okm.hex() == expected


@given(st.binary(min_size=1, max_size=80), st.binary(max_size=40), st.integers(1, 200))
def test_hkdf_agrees_with_cryptography(material: bytes, info: bytes, length: int) -> None:
    theirs = HKDF(algorithm=hashes.SHA256(), length=length, salt=None, info=info).derive(material)
    assert kdf.hkdf(material, info, length) == theirs


def test_the_identity_depends_on_each_of_its_parts() -> None:
    base = kdf.identity_seed(b"s" * 32, b"r" * 32, b"t" * 16)
    others = {
        kdf.identity_seed(b"S" * 32, b"r" * 32, b"t" * 16),
        kdf.identity_seed(b"s" * 32, b"R" * 32, b"t" * 16),
        kdf.identity_seed(b"s" * 32, b"r" * 32, b"T" * 16),
    }
    assert len(others) == 3
    assert base not in others


def test_the_token_proof_is_protocol_v1s() -> None:
    expected = hmac.new(b"claim", b"otscert/v1/token" + b"t" * 16 + b"thumb", hashlib.sha256).digest()
    assert kdf.token_proof(b"claim", b"t" * 16, "thumb") == expected


@given(st.integers(0, 2**31 - 1))
def test_a_generation_comes_back(generation: int) -> None:
    assert pki.decode_generation(pki.encode_generation(generation)) == generation


@pytest.mark.parametrize(
    "der", [b"", b"\x02\x00", b"\x02\x01\xff", b"\x02\x02\x00\x01", b"\x04\x01\x01", b"\x02\x02\x01"]
)
def test_a_generation_that_is_not_a_minimal_integer_is_refused(der: bytes) -> None:
    with pytest.raises(ValueError, match="generation"):
        pki.decode_generation(der)


def test_the_object_identifiers_are_two_and_valid() -> None:
    found = {x509.ObjectIdentifier(pki.EKU_ANSWER), x509.ObjectIdentifier(pki.EXT_GENERATION)}
    assert len(found) == 2
