"""HQ's certificates with fixed keys, serial numbers and dates; signed by RFC 6979, so always the same bytes.

The profile is the one of HQ's own `pki`; a test holds the two against each other.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from otscert.pki.certificates import KeyPair
from otscert_agent.wire import pki
from tests.protocol_vectors import fixed

NOW = dt.datetime(2026, 12, 1, tzinfo=dt.UTC)
NOW_S = int(NOW.timestamp())
YEAR = dt.timedelta(days=365)
HOUR = dt.timedelta(hours=1)
SERVER_AUTH = ExtendedKeyUsageOID.SERVER_AUTH
EKU_ANSWER = x509.ObjectIdentifier(pki.EKU_ANSWER)


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """What one certificate below HQ's root says; the defaults are those of a sound answer certificate."""

    label: str
    usages: tuple[x509.ObjectIdentifier, ...] = (EKU_ANSWER,)
    critical: bool = True
    generation: int | None = 3
    not_before: dt.datetime = NOW - HOUR
    not_after: dt.datetime = NOW + YEAR
    host: str | None = None
    extra: x509.UnrecognizedExtension | None = None


def root(label: str = "hq root") -> KeyPair:
    key, name = fixed.p256(label), _name("OTS Cert HQ root for boxes.example.com")
    builder = (
        _builder(label, name, name, key, NOW - YEAR, NOW + 24 * YEAR)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
    )
    return KeyPair(key=key, certificate=builder.sign(key, hashes.SHA256(), ecdsa_deterministic=True))


def leaf(issuer: KeyPair, wanted: Leaf) -> KeyPair:
    key = fixed.p256(wanted.label)
    common_name = "OTS Cert HQ" if wanted.host else "OTS Cert HQ answers"
    builder = (
        _builder(wanted.label, _name(common_name), issuer.certificate.subject, key, wanted.not_before, wanted.not_after)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key()), critical=False)
    )
    if wanted.generation is not None:
        marker = x509.ObjectIdentifier(pki.EXT_GENERATION)
        value = pki.encode_generation(wanted.generation)
        builder = builder.add_extension(x509.UnrecognizedExtension(marker, value), critical=False)
    if wanted.host is not None:
        name = x509.SubjectAlternativeName([x509.DNSName(wanted.host)])
        builder = builder.add_extension(name, critical=False)
    if wanted.usages:
        builder = builder.add_extension(x509.ExtendedKeyUsage(wanted.usages), critical=wanted.critical)
    if wanted.extra is not None:
        builder = builder.add_extension(wanted.extra, critical=True)
    return KeyPair(key=key, certificate=builder.sign(issuer.key, hashes.SHA256(), ecdsa_deterministic=True))


def answer_leaf(issuer: KeyPair) -> KeyPair:
    return leaf(issuer, Leaf(label="hq answer"))


def tls_leaf(issuer: KeyPair, *, generation: int = 3) -> KeyPair:
    wanted = Leaf(label="hq tls", usages=(SERVER_AUTH,), critical=False, generation=generation, host="hq.example.com")
    return leaf(issuer, wanted)


def public_chain(csr_der: bytes) -> tuple[x509.Certificate, str]:
    """A public CA's answer to a CSR: the leaf, and the PEM of leaf and issuer."""
    csr = x509.load_der_x509_csr(csr_der)
    ca, ca_name = fixed.p256("public ca"), _name("An example of a public CA")
    issuer = (
        _builder("public ca", ca_name, ca_name, ca, NOW - YEAR, NOW + 5 * YEAR)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(ca, hashes.SHA256(), ecdsa_deterministic=True)
    )
    key = csr.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    names = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    certificate = (
        _builder("box", x509.Name([]), ca_name, key, NOW - HOUR, NOW + dt.timedelta(days=45))
        .add_extension(names, critical=True)
        .add_extension(x509.ExtendedKeyUsage([SERVER_AUTH]), critical=False)
        .sign(ca, hashes.SHA256(), ecdsa_deterministic=True)
    )
    return certificate, pem(certificate) + pem(issuer)


def pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode("ascii")


def _builder(
    label: str,
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey | ec.EllipticCurvePublicKey,
    *validity: dt.datetime,
) -> x509.CertificateBuilder:
    not_before, not_after = validity
    public = key.public_key() if isinstance(key, ec.EllipticCurvePrivateKey) else key
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(int.from_bytes(b"\x01" + fixed.octets(f"serial of {label}", 15), "big"))
        .not_valid_before(not_before)
        .not_valid_after(not_after)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)])


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )
