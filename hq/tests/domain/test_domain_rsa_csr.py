"""RSA keys in CSRs: refused with what is missing, or taken as public CAs do. None of HQ's randomness is in one."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from otscert.domain.assurance import Contribution
from otscert.domain.csr import CheckedCsr, CsrRefused, RsaPermission, check_csr, may_use_rsa
from tests.harness.hq import make_model

NAMES = ("abc.boxes.example.com", "*.abc.boxes.example.com")
POINT = (
    ec.derive_private_key(12345, ec.SECP256R1())
    .public_key()
    .public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
)
ALLOWED = RsaPermission(allowed=True, reason="")
KEY = rsa.generate_private_key(65537, 2048)


def make(key: rsa.RSAPrivateKey = KEY, *, names: tuple[str, ...] = NAMES, **signing: Any) -> bytes:
    sans = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).add_extension(sans, critical=False)
    return builder.sign(key, hashes.SHA256(), **signing).public_bytes(Encoding.DER)


def check(der: bytes, permission: RsaPermission = ALLOWED) -> CheckedCsr:
    return check_csr(der, names=NAMES, expected_point=POINT, contribution=Contribution.SEALED, rsa_allowed=permission)


@pytest.mark.parametrize("bits", [2048, 3072, 4096])
def test_an_rsa_key_passes_where_it_is_allowed_and_has_no_contribution(bits: int) -> None:
    key = rsa.generate_private_key(65537, bits)
    checked = check(make(key))
    spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    modulus = key.public_key().public_numbers().n
    assert checked.contribution is Contribution.NONE
    assert checked.modulus == modulus
    assert checked.index.spki_sha256 == hashlib.sha256(spki).digest()
    assert checked.index.x_coordinate == hashlib.sha256(modulus.to_bytes(bits // 8, "big")).digest()


def test_a_p256_key_keeps_its_contribution_where_rsa_is_allowed() -> None:
    key = ec.derive_private_key(12345, ec.SECP256R1())
    sans = x509.SubjectAlternativeName([x509.DNSName(name) for name in NAMES])
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).add_extension(sans, critical=False)
    checked = check(builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER))
    assert (checked.contribution, checked.modulus) == (Contribution.SEALED, None)


def changed(der: bytes) -> bytes:
    return der[:-1] + bytes([der[-1] ^ 1])


@pytest.mark.parametrize(
    ("der", "words"),
    [
        (make(rsa.generate_private_key(65537, 2056)), "has 2056 bits; HQ takes 2048, 3072, 4096"),
        (make(rsa.generate_private_key(3, 2048)), "another exponent than 65537"),
        (make(names=(*NAMES, "www.example.com")), r"must be exactly .* www\.example\.com"),
        (make(names=("abc.boxes.example.com",)), "must be exactly"),
        (changed(make()), "not by its own key"),
        (make(rsa_padding=padding.PSS(padding.MGF1(hashes.SHA256()), 32)), "RSASSA-PSS; use PKCS #1 v1.5"),
    ],
    ids=["size", "exponent", "one name more", "one name less", "signature", "PSS"],
)
def test_a_bad_rsa_csr_is_refused_with_the_reason(der: bytes, words: str) -> None:
    with pytest.raises(CsrRefused, match=words):
        check(der)


# By openssl req with the point in compressed form: the key of POINT, whose certificate would have another SPKI.
COMPRESSED = base64.b64decode(
    "MIHnMIGOAgEAMAAwOTATBgcqhkjOPQIBBggqhkjOPQMBBwMiAAIm7869DunjSmaRh+GLOpEisvczlFtknMn5+SHp+drYEqBMMEoGCSqG"
    "SIb3DQEJDjE9MDswOQYDVR0RBDIwMIIVYWJjLmJveGVzLmV4YW1wbGUuY29tghcqLmFiYy5ib3hlcy5leGFtcGxlLmNvbTAKBggqhkjO"
    "PQQDAgNIADBFAiEA0IYrk7V9pFSuhPrV+tfrBPIwkFKrHoN+kdXPJq0wJW8CICLOX+7legPZLoyQRbiOzPEeXza9fFtHBqnnhZk7g0Ii"
)


def test_a_key_in_another_form_than_a_certificate_has_is_refused() -> None:
    with pytest.raises(CsrRefused, match="not an uncompressed point"):
        check(COMPRESSED)


@pytest.mark.parametrize(
    ("changes", "missing"),
    [
        ({"allow_rsa": False, "min_contribution": Contribution.NONE}, ["model.box.allow_rsa = true"]),
        ({"allow_rsa": True, "min_contribution": Contribution.OPEN}, ['model.box.min_contribution = "none"']),
        (
            {"allow_rsa": False, "min_contribution": Contribution.SEALED},
            ["model.box.allow_rsa = true", 'model.box.min_contribution = "none"'],
        ),
    ],
    ids=["switch", "contribution", "both"],
)
def test_the_refusal_says_what_is_missing_and_no_more(changes: dict[str, Any], missing: list[str]) -> None:
    permission = may_use_rsa(make_model(**changes))
    assert not permission.allowed
    with pytest.raises(CsrRefused, match="the CSR's key is RSA") as refusal:
        check(make(), permission)
    settings = ("model.box.allow_rsa = true", 'model.box.min_contribution = "none"')
    assert [setting for setting in settings if setting in str(refusal.value)] == missing


def test_a_model_that_allows_rsa_and_demands_no_contribution_may_have_it() -> None:
    assert may_use_rsa(make_model(allow_rsa=True, min_contribution=Contribution.NONE)).allowed
