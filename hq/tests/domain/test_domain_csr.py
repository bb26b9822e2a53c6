"""Every bad CSR that we could think of, and thousands that we could not."""

from __future__ import annotations

import base64
import hashlib
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from otscert.domain.assurance import Contribution
from otscert.domain.csr import MAX_CSR_BYTES, CheckedCsr, ContributionMismatch, CsrRefused, RsaPermission, check_csr

NAMES = ("abc.boxes.example.com", "*.abc.boxes.example.com")
KEY = ec.derive_private_key(12345, ec.SECP256R1())
POINT = KEY.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
EMPTY = x509.Name([])
Private = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


def make(
    *names: x509.GeneralName | str,
    key: Private = KEY,
    digest: hashes.SHA256 | hashes.SHA384 | hashes.SHA512 | None = None,
    subject: x509.Name = EMPTY,
) -> bytes:
    sans = [x509.DNSName(name) if isinstance(name, str) else name for name in names]
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    if sans:
        builder = builder.add_extension(x509.SubjectAlternativeName(sans), critical=False)
    chosen = None if isinstance(key, ed25519.Ed25519PrivateKey) else digest or hashes.SHA256()
    # The same octets in every process: the tests are named by them.
    deterministic = True if isinstance(key, ec.EllipticCurvePrivateKey) else None
    return builder.sign(key, chosen, ecdsa_deterministic=deterministic).public_bytes(Encoding.DER)


NO_RSA = RsaPermission(allowed=False, reason="RSA is not on P-256")


def check(der: bytes) -> CheckedCsr:
    return check_csr(der, names=NAMES, expected_point=POINT, contribution=Contribution.OPEN, rsa_allowed=NO_RSA)


GOOD = make(*NAMES)


def cn(value: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, value)])


@pytest.mark.parametrize(
    "der",
    [
        GOOD,
        make(*reversed(NAMES)),
        make(*NAMES, digest=hashes.SHA384()),
        make(*NAMES, digest=hashes.SHA512()),
        make(*NAMES, subject=cn(NAMES[0])),
    ],
    ids=["as asked", "other order", "SHA-384", "SHA-512", "CN is one of the names"],
)
def test_a_good_csr_passes(der: bytes) -> None:
    checked = check(der)
    spki = KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert checked.der == der
    assert checked.sha256 == hashlib.sha256(der).digest()
    assert checked.index.spki_sha256 == hashlib.sha256(spki).digest()
    assert checked.index.x_coordinate == POINT[1:33]
    assert (checked.contribution, checked.modulus) == (Contribution.OPEN, None)


WITH_CN = make(*NAMES, subject=cn(NAMES[0]))


def with_organization() -> bytes:
    attribute = x509.NameAttribute(NameOID.COMMON_NAME, NAMES[0])
    return make(*NAMES, subject=x509.Name([attribute, x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Evil")]))


# 1024-bit RSA and SHA-1 signatures cannot be made with this library any more; both were made with openssl req.
RSA_1024 = (
    "MIIBrDCCARUCAQAwIDEeMBwGA1UEAwwVYWJjLmJveGVzLmV4YW1wbGUuY29tMIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQCb"
    "yVUB1+tdo9OXNDSDW+kr0/j5MPY8QYmQzWpRThu/bLyNl8lEfJxGw5Qg6MZDHCpybMJJp4I8Tn9emAJNYZFTPKIAZSuo2vTlYhh8"
    "tR+YkQyo+19jADICb21n8LVkoyHYemEUSu4VtE963IbVvpz9tgC1u8LDuS4iXQ+rJPY+wwIDAQABoEwwSgYJKoZIhvcNAQkOMT0w"
    "OzA5BgNVHREEMjAwghVhYmMuYm94ZXMuZXhhbXBsZS5jb22CFyouYWJjLmJveGVzLmV4YW1wbGUuY29tMA0GCSqGSIb3DQEBCwUA"
    "A4GBAE7CxvEFVDFOYHwh9m50TB0MlSPZHHM/SvzErobsyEWrN6cNwmrxxo7yut1ekUhLpoMs8F3MYGAUZ1gFiLDiT7gOlvZPJlMV"
    "bmTpvULZdcp69RDFunzge/NeBW71cF3D3RnDJ4VCgTllEsRQlX1vDfZyprJSWrPL//bPWpqjc5CP"
)
SHA1 = (
    "MIIBJjCBzgIBADAgMR4wHAYDVQQDDBVhYmMuYm94ZXMuZXhhbXBsZS5jb20wWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAQm7869"
    "DunjSmaRh+GLOpEisvczlFtknMn5+SHp+drYEpAji96cx7szDRUMZ3BN0lrnBVIFdEtvMb9AcHRYctDmoEwwSgYJKoZIhvcNAQkO"
    "MT0wOzA5BgNVHREEMjAwghVhYmMuYm94ZXMuZXhhbXBsZS5jb22CFyouYWJjLmJveGVzLmV4YW1wbGUuY29tMAkGByqGSM49BAED"
    "SAAwRQIgD7sd2EPWHJXNzcJoCnKWGbyHIwh595QCiflZVV5LvFwCIQDY5rAUF73V4aB4IGP0B7z3zkMJalqAunNaGyx6Aqv0CA=="
)


@pytest.mark.parametrize(
    ("der", "words"),
    [
        (make("xyz.boxes.example.com", "*.xyz.boxes.example.com"), "must be exactly abc"),
        (make(NAMES[0]), "must be exactly"),
        (make(*NAMES, "www.example.com"), "www.example.com"),
        (make(*NAMES, NAMES[0]), "must be exactly"),
        (make(*NAMES, x509.IPAddress(ip_address("192.168.1.20"))), "not a DNS name"),
        (make(*NAMES, x509.RFC822Name("me@example.com")), "not a DNS name"),
        (make(*NAMES, x509.UniformResourceIdentifier("https://example.com")), "not a DNS name"),
        (make(*NAMES, x509.DirectoryName(cn("x"))), "not a DNS name"),
        (make("com", "*.com"), r"it has com, \*\.com"),
        (make("co.uk", "*.co.uk"), r"it has co\.uk, \*\.co\.uk"),
        (make("ABC.boxes.example.com", "*.abc.boxes.example.com"), "must be exactly"),
        (make("abc.boxes.example.com.", "*.abc.boxes.example.com"), "must be exactly"),
        (make(*(f"n{number}.example.com" for number in range(50))), "and 46 more"),
        (make(), "it has none"),
        (make(subject=cn(NAMES[0])), "it has none"),
        (make(*NAMES, subject=cn("other.example.com")), "subject must be empty"),
        (with_organization(), "subject must be empty"),
        (make(*NAMES, key=ec.generate_private_key(ec.SECP384R1())), "not on P-256"),
        (make(*NAMES, key=ec.generate_private_key(ec.SECP256K1())), "not on P-256"),
        (make(*NAMES, key=rsa.generate_private_key(65537, 2048)), "not on P-256"),
        (make(*NAMES, key=ed25519.Ed25519PrivateKey.generate()), "not on P-256"),
        (base64.b64decode(RSA_1024), "not on P-256"),
        (base64.b64decode(SHA1), "SHA-256, SHA-384 or SHA-512"),
        (GOOD[:-1] + bytes([GOOD[-1] ^ 1]), "not by its own key"),
        (GOOD + b"\0", "PKCS #10"),
        (GOOD + GOOD, "PKCS #10"),
        (GOOD[:-1], "PKCS #10"),
        (bytes(1_000_000), f"1000000 bytes long, more than {MAX_CSR_BYTES}"),
        (b"\x30" * 4000, "PKCS #10"),
        (b"", "PKCS #10"),
        (b"-----BEGIN CERTIFICATE REQUEST-----", "PKCS #10"),
    ],
)
def test_a_bad_csr_is_refused_with_the_reason(der: bytes, words: str) -> None:
    with pytest.raises(CsrRefused, match=words) as refusal:
        check(der)
    assert not isinstance(refusal.value, ContributionMismatch)
    assert len(str(refusal.value)) < 600


def test_another_key_is_not_the_contribution() -> None:
    with pytest.raises(ContributionMismatch, match=r"not D0 \+ r\*G"):
        check(make(*NAMES, key=ec.generate_private_key(ec.SECP256R1())))
    negative = ec.derive_private_key(
        0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551 - 12345, ec.SECP256R1()
    )
    with pytest.raises(ContributionMismatch):
        check(make(*NAMES, key=negative))  # the same x coordinate is not the same key


@settings(max_examples=2000)
@given(st.data())
def test_a_changed_csr_is_refused_and_never_crashes(data: st.DataObject) -> None:
    changed = bytearray(WITH_CN)
    places = data.draw(st.lists(st.integers(0, len(changed) - 1), min_size=1, max_size=4, unique=True))
    for place in places:
        changed[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(CsrRefused):
        check(bytes(changed))


@given(st.binary(max_size=600))
def test_junk_is_refused_and_never_crashes(junk: bytes) -> None:
    with pytest.raises(CsrRefused):
        check(junk)


@pytest.mark.parametrize("position", range(len(GOOD)))
def test_every_octet_counts(position: int) -> None:
    for mask in (1, 0x20, 0x80, 0xFF):
        changed = bytearray(GOOD)
        changed[position] ^= mask
        with pytest.raises(CsrRefused):
            check(bytes(changed))
