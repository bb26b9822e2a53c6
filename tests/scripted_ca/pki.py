"""The keys and certificates of the CA: roots, one intermediate key under each, leaves, and its own HTTPS."""

from __future__ import annotations

import datetime as dt
import ipaddress
import ssl
import tempfile
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

SHA256 = hashes.SHA256()
BACKDATED = dt.timedelta(hours=1)  # as Let's Encrypt does
CA_LIFE = dt.timedelta(days=3650)
SERVER_AUTH = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _ca_certificate(
    subject: str, issuer: str, public: ec.EllipticCurvePublicKey, signer: ec.EllipticCurvePrivateKey
) -> x509.Certificate:
    now = dt.datetime.now(dt.UTC)
    usage = {name: name in {"key_cert_sign", "crl_sign"} for name in _KEY_USAGES}
    return (
        x509.CertificateBuilder(_name(issuer), _name(subject), public, x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + CA_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(**usage), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        .sign(signer, SHA256)
    )


_KEY_USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode("ascii")


class Issuance:
    """Root(s) -> one intermediate key -> leaves. `roots` are PEM, the default one first, then the alternates."""

    def __init__(self, alternates: int) -> None:
        self._key = _new_key()
        self._issuer = _name("Scripted Intermediate")
        self.roots: list[str] = []
        self.root_names = ["Scripted Root", *(f"Scripted Alternate Root {n + 1}" for n in range(alternates))]
        self._intermediates: list[str] = []
        for root_name in self.root_names:
            root_key = _new_key()
            self.roots.append(_pem(_ca_certificate(root_name, root_name, root_key.public_key(), root_key)))
            crossed = _ca_certificate("Scripted Intermediate", root_name, self._key.public_key(), root_key)
            self._intermediates.append(_pem(crossed))
        usage = {name: name == "digital_signature" for name in _KEY_USAGES}
        # The same in every leaf, so made once: issuing carries the load figures.
        self._constant: list[tuple[x509.ExtensionType, bool]] = [
            (x509.KeyUsage(**usage), True),
            (SERVER_AUTH, False),
            (x509.BasicConstraints(ca=False, path_length=None), True),
            (x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), False),
        ]

    def issue(
        self, key: CertificatePublicKeyTypes, names: Sequence[str], *, start: dt.datetime, life_s: int
    ) -> x509.Certificate:
        """Sign a leaf for `key`: SAN only, no common name, as Let's Encrypt's newer profiles have it."""
        start = start.replace(microsecond=0) - BACKDATED
        san = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
        # "the certificate is valid from notBefore through notAfter, inclusive": one second less than the life.
        builder = (
            x509.CertificateBuilder(self._issuer, x509.Name([]), key, x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(start + dt.timedelta(seconds=life_s - 1))
            .add_extension(san, critical=True)
        )
        for extension, critical in self._constant:
            builder = builder.add_extension(extension, critical=critical)
        return builder.sign(self._key, SHA256)

    def chain(self, leaf: x509.Certificate, alternate: int) -> str:
        return _pem(leaf) + self._intermediates[alternate]


class OwnHttps:
    """The CA's own HTTPS: a root that clients trust, and a server context for localhost, 127.0.0.1 and ::1."""

    def __init__(self) -> None:
        root_key, key = _new_key(), _new_key()
        root = _ca_certificate("Scripted CA: own HTTPS", "Scripted CA: own HTTPS", root_key.public_key(), root_key)
        now = dt.datetime.now(dt.UTC)
        addresses = [x509.IPAddress(ipaddress.ip_address(each)) for each in ("127.0.0.1", "::1")]
        leaf = (
            x509.CertificateBuilder(root.subject, x509.Name([]), key.public_key(), x509.random_serial_number())
            .not_valid_before(now - BACKDATED)
            .not_valid_after(now + dt.timedelta(days=30))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost"), *addresses]), critical=True)
            .add_extension(SERVER_AUTH, critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key()), critical=False)
            .sign(root_key, SHA256)
        )
        self.root_pem = _pem(root)
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        self.context = _server_context(private + leaf.public_bytes(Encoding.PEM))


def _server_context(pair: bytes) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:  # `ssl` reads key and certificate from files only
        path = Path(folder, "pair.pem")
        path.touch(mode=0o600)
        path.write_bytes(pair)
        context.load_cert_chain(path)
    return context
