"""HQ's private PKI and a public CA, as the tests need them: also with what a careless or hostile one would write."""

from __future__ import annotations

import datetime as dt
import ipaddress
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from otscert_agent.wire import pki

NOW = dt.datetime(2026, 11, 23, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)
EKU_ANSWER = x509.ObjectIdentifier(pki.EKU_ANSWER)
SERVER_AUTH = ExtendedKeyUsageOID.SERVER_AUTH


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPair:
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)


def name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def make_root(common_name: str = "HQ root", *, ca: bool = True, path_length: int | None = 0) -> KeyPair:
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder(name(common_name), name(common_name), key, NOW - DAY, NOW + 25 * 365 * DAY)
    builder = builder.add_extension(
        x509.BasicConstraints(ca=ca, path_length=path_length if ca else None), critical=True
    )
    return KeyPair(key=key, certificate=builder.sign(key, hashes.SHA256()))


def make_leaf(
    root: KeyPair,
    *,
    usages: list[x509.ObjectIdentifier],
    critical: bool = False,
    generation: int | None = 1,
    host: str = "127.0.0.1",
    not_before: dt.datetime = NOW - DAY,
    not_after: dt.datetime = NOW + 365 * DAY,
    ca: bool = False,
    extra: x509.UnrecognizedExtension | None = None,
) -> KeyPair:
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder(name("HQ"), root.certificate.subject, key, not_before, not_after)
    builder = builder.add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=critical)
    if generation is not None:
        marker = x509.UnrecognizedExtension(
            x509.ObjectIdentifier(pki.EXT_GENERATION), pki.encode_generation(generation)
        )
        builder = builder.add_extension(marker, critical=False)
    if extra is not None:
        builder = builder.add_extension(extra, critical=True)
    if SERVER_AUTH in usages:
        builder = builder.add_extension(x509.SubjectAlternativeName([_general(host)]), critical=False)
    return KeyPair(key=key, certificate=builder.sign(root.key, hashes.SHA256()))


def make_cross(old: KeyPair, following: KeyPair) -> KeyPair:
    """The key of `following`, vouched for by `old`."""
    subject, issuer = following.certificate.subject, old.certificate.subject
    builder = _builder(subject, issuer, following.key, NOW - DAY, NOW + 25 * 365 * DAY)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    return KeyPair(key=following.key, certificate=builder.sign(old.key, hashes.SHA256()))


def tls_leaf(root: KeyPair, *, generation: int = 1, host: str = "127.0.0.1") -> KeyPair:
    return make_leaf(root, usages=[SERVER_AUTH], generation=generation, host=host)


def answer_leaf(
    root: KeyPair,
    *,
    generation: int = 1,
    not_before: dt.datetime = NOW - DAY,
    not_after: dt.datetime = NOW + 365 * DAY,
) -> KeyPair:
    return make_leaf(
        root, usages=[EKU_ANSWER], critical=True, generation=generation, not_before=not_before, not_after=not_after
    )


def unreadable(leaf: KeyPair) -> dict[str, x509.Certificate]:
    """`leaf` as somebody would send it who wants to end the reader: each loads, and raises when it is asked."""
    curve, eku, constraints = b"\x2a\x86\x48\xce\x3d\x03\x01\x07", b"\x06\x03\x55\x1d\x25", b"\x06\x03\x55\x1d\x13"
    garbled = leaf.der.replace(constraints + b"\x01\x01\xff\x04\x02\x30", constraints + b"\x01\x01\xff\x04\x02\x31")
    changed = {
        "duplicate extension": leaf.der.replace(eku, constraints),
        "garbled extension": garbled,
        "unknown curve": leaf.der.replace(curve, curve[:-1] + b"\x7f"),
    }
    assert leaf.der not in changed.values()
    return {what: x509.load_der_x509_certificate(der) for what, der in changed.items()}


def issue(ca: KeyPair, csr_der: bytes) -> str:
    """A public CA's answer to a CSR: leaf and issuer, PEM."""
    csr = x509.load_der_x509_csr(csr_der)
    names = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(ca.certificate.subject)
        .public_key(csr.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - DAY)
        .not_valid_after(NOW + 90 * DAY)
        .add_extension(names, critical=True)
        .add_extension(x509.ExtendedKeyUsage([SERVER_AUTH]), critical=False)
    )
    leaf = builder.sign(ca.key, hashes.SHA256())
    return (leaf.public_bytes(Encoding.PEM) + ca.pem).decode()


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    not_before: dt.datetime,
    not_after: dt.datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(not_before)
        .not_valid_after(not_after)
    )


def _general(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
