"""The certificates of HQ's own PKI: what is in them, and nothing of where they are kept.

Root: 25 years, pinned by boxes. Cross certificate: the old root's word for the key of the next one, while roots are
rotated (docs/decisions/0014). TLS leaf: serverAuth only. Answer certificate: one critical private EKU and no
serverAuth, so that neither can do the other's work. Both carry a generation that only ever rises.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from otscert_agent.wire.pki import EKU_ANSWER, EXT_GENERATION, decode_generation, encode_generation

ROOT_LIFE = timedelta(days=25 * 365)
LEAF_LIFE = timedelta(days=366)
BACKDATE = timedelta(hours=1)  # a box whose clock is a little behind, and checks dates, still accepts it


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPair:
    """A key, its certificate, and what is sent along above it: nothing, or a cross certificate."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate
    chain: tuple[x509.Certificate, ...] = ()


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _root_name(common_name: str, key: ec.EllipticCurvePublicKey) -> x509.Name:
    """A name that no other root has, so that who builds a path finds issuers by name."""
    number = x509.SubjectKeyIdentifier.from_public_key(key).digest[:4].hex()
    return x509.Name([*_name(common_name), x509.NameAttribute(NameOID.SERIAL_NUMBER, number)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, *, now: datetime, until: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATE)
        .not_valid_after(until)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def make_root(zone: str, *, now: datetime) -> KeyPair:
    """A self-signed root that may sign leaves, and cross certificates for a next root (path length 1)."""
    return _root(f"OTS Cert HQ root for {zone}"[:64], now=now)


def make_next_root(old: x509.Certificate, *, now: datetime) -> KeyPair:
    """A root that is called as the old one is, with its own number."""
    (common_name,) = old.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return _root(str(common_name.value), now=now)


def _root(common_name: str, *, now: datetime) -> KeyPair:
    key = ec.generate_private_key(ec.SECP256R1())
    name = _root_name(common_name, key.public_key())
    builder = _builder(name, name, key.public_key(), now=now, until=now + ROOT_LIFE)
    certificate = _authority(builder, path_length=1).sign(key, hashes.SHA256())
    return KeyPair(key=key, certificate=certificate)


def make_cross(old: KeyPair, following: x509.Certificate, *, now: datetime) -> x509.Certificate:
    """The old root's word for the next root's key, for boxes that pin the old one; it ends with the old one."""
    until = old.certificate.not_valid_after_utc
    builder = _builder(following.subject, old.certificate.subject, p256(following), now=now, until=until)
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(old.key.public_key())
    builder = _authority(builder, path_length=0).add_extension(authority, critical=False)
    return builder.sign(old.key, hashes.SHA256())


def _authority(builder: x509.CertificateBuilder, *, path_length: int) -> x509.CertificateBuilder:
    return builder.add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True).add_extension(
        _key_usage(sign_certificates=True), critical=True
    )


def may_vouch(root: x509.Certificate) -> bool:
    """Whether boxes accept a cross certificate of this root."""
    length = root.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length
    return length is None or length >= 1


def make_tls_leaf(root: KeyPair, *, hosts: tuple[str, ...], generation: int, now: datetime) -> KeyPair:
    """The certificate of HQ's device endpoint for host names and IP addresses in `hosts`."""
    key = ec.generate_private_key(ec.SECP256R1())
    leaf = issue_tls_leaf(root, key.public_key(), hosts=hosts, generation=generation, now=now)
    return KeyPair(key=key, certificate=leaf, chain=root.chain)


def make_answer_leaf(root: KeyPair, *, generation: int, now: datetime) -> KeyPair:
    """The certificate of the key that signs HQ's answers."""
    key = ec.generate_private_key(ec.SECP256R1())
    leaf = issue_answer_leaf(root, key.public_key(), generation=generation, now=now)
    return KeyPair(key=key, certificate=leaf, chain=root.chain)


def issue_tls_leaf(
    root: KeyPair, key: ec.EllipticCurvePublicKey, *, hosts: tuple[str, ...], generation: int, now: datetime
) -> x509.Certificate:
    names = x509.SubjectAlternativeName([_general_name(host) for host in hosts])
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    return _leaf(root, key, "OTS Cert HQ", [(names, False), (usage, False)], generation=generation, now=now)


def issue_answer_leaf(
    root: KeyPair, key: ec.EllipticCurvePublicKey, *, generation: int, now: datetime
) -> x509.Certificate:
    usage = x509.ExtendedKeyUsage([x509.ObjectIdentifier(EKU_ANSWER)])
    return _leaf(root, key, "OTS Cert HQ answers", [(usage, True)], generation=generation, now=now)


def _leaf(
    root: KeyPair,
    key: ec.EllipticCurvePublicKey,
    common_name: str,
    extensions: list[tuple[x509.ExtensionType, bool]],
    *,
    generation: int,
    now: datetime,
) -> x509.Certificate:
    builder = _builder(_name(common_name), root.certificate.subject, key, now=now, until=now + LEAF_LIFE)
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
    return builder.sign(root.key, hashes.SHA256())


def names_of(leaf: x509.Certificate) -> set[str]:
    """Host names and IP addresses that a TLS leaf is for."""
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress))}


def generation_of(leaf: x509.Certificate) -> int:
    """The generation of a leaf; raises `ValueError` when it has none that can be read."""
    try:
        extension = leaf.extensions.get_extension_for_oid(x509.ObjectIdentifier(EXT_GENERATION)).value
    except x509.ExtensionNotFound:
        raise ValueError("the certificate has no generation") from None
    return decode_generation(extension.public_bytes())


def issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def p256(certificate: x509.Certificate) -> ec.EllipticCurvePublicKey:
    """The certificate's key; raises `ValueError` for one that no root or leaf of HQ has."""
    key = certificate.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp256r1":
        raise ValueError("the certificate's key is not on P-256")
    return key


def fingerprint(certificate: x509.Certificate) -> str:
    """SHA-256 of the DER, hexadecimal: how people name a root."""
    return certificate.fingerprint(hashes.SHA256()).hex()


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
