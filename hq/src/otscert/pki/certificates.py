"""The certificates of HQ's own PKI: what is in them, and nothing of where they are kept.

Root: 25 years, pinned by boxes. TLS leaf: serverAuth only. Answer certificate: one critical private EKU and no
serverAuth, so that neither can do the other's work. Both carry a generation that only ever rises.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from otscert_agent.wire.pki import EKU_ANSWER, EXT_GENERATION, encode_generation

ROOT_LIFE = timedelta(days=25 * 365)
LEAF_LIFE = timedelta(days=366)
BACKDATE = timedelta(hours=1)  # a box whose clock is a little behind, and checks dates, still accepts it


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPair:
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _builder(
    subject: str, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, *, now: datetime, life: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATE)
        .not_valid_after(now + life)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def make_root(zone: str, *, now: datetime) -> KeyPair:
    """A self-signed root that may sign leaves only (path length 0)."""
    key = ec.generate_private_key(ec.SECP256R1())
    common_name = f"OTS Cert HQ root for {zone}"[:64]
    certificate = (
        _builder(common_name, _name(common_name), key, now=now, life=ROOT_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(sign_certificates=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    return KeyPair(key=key, certificate=certificate)


def make_tls_leaf(root: KeyPair, *, hosts: tuple[str, ...], generation: int, now: datetime) -> KeyPair:
    """The certificate of HQ's device endpoint for host names and IP addresses in `hosts`."""
    names = x509.SubjectAlternativeName([_general_name(host) for host in hosts])
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    return _leaf(root, "OTS Cert HQ", [(names, False), (usage, False)], generation=generation, now=now)


def make_answer_leaf(root: KeyPair, *, generation: int, now: datetime) -> KeyPair:
    """The certificate of the key that signs HQ's answers."""
    usage = x509.ExtendedKeyUsage([x509.ObjectIdentifier(EKU_ANSWER)])
    return _leaf(root, "OTS Cert HQ answers", [(usage, True)], generation=generation, now=now)


def _leaf(
    root: KeyPair,
    common_name: str,
    extensions: list[tuple[x509.ExtensionType, bool]],
    *,
    generation: int,
    now: datetime,
) -> KeyPair:
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder(common_name, root.certificate.subject, key, now=now, life=LEAF_LIFE)
    marker = x509.UnrecognizedExtension(x509.ObjectIdentifier(EXT_GENERATION), encode_generation(generation))
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(root.key.public_key())
    standing: list[tuple[x509.ExtensionType, bool]] = [
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (_key_usage(sign_certificates=False), True),
        (authority, False),
        (marker, False),
    ]
    for extension, critical in standing + extensions:
        builder = builder.add_extension(extension, critical=critical)
    return KeyPair(key=key, certificate=builder.sign(root.key, hashes.SHA256()))


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _key_usage(*, sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def utc_now_from(now_s: int) -> datetime:
    return datetime.fromtimestamp(now_s, UTC)
