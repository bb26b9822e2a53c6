"""What Pebble reads: its configuration file, its environment switches, the certificate of its own HTTPS interfaces.

Serves 2.4 and 2.10 with one file: the older one ignores the members it does not know. Starts nothing.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LOOPBACK = "127.0.0.1"
# A test CA's own interface: long enough for any run, short enough that nobody comes to rely on it.
API_VALIDITY = timedelta(days=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One certificate profile that the CA offers."""

    description: str
    validity_s: int


DEFAULT_PROFILES: Mapping[str, Profile] = {
    "default": Profile(description="90 days", validity_s=90 * 86_400),
    "tlsserver": Profile(description="45 days", validity_s=45 * 86_400),
    "shortlived": Profile(description="160 hours", validity_s=160 * 3_600),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiCertificate:
    """The files of Pebble's own HTTPS: the root that clients trust, and the leaf with its key that Pebble serves."""

    root: Path
    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class PebbleSettings:
    """How the CA behaves; `start_pebble` documents each member."""

    dns_server: str | None
    nonce_reject_percent: int
    authz_reuse_percent: int
    always_valid: bool
    retry_after: tuple[int, int] | None
    eab: Mapping[str, str] | None
    profiles: Mapping[str, Profile]
    alternate_roots: int

    def environment(self) -> dict[str, str]:
        switches = {
            "PEBBLE_VA_NOSLEEP": "1",
            "PEBBLE_WFE_NONCEREJECT": str(self.nonce_reject_percent),
            "PEBBLE_AUTHZREUSE": str(self.authz_reuse_percent),
            "PEBBLE_ALTERNATE_ROOTS": str(self.alternate_roots),
        }
        return switches | ({"PEBBLE_VA_ALWAYS_VALID": "1"} if self.always_valid else {})

    def config(self, *, https_port: int, management_port: int, api: ApiCertificate) -> str:
        """Return the text of Pebble's configuration file."""
        authz_s, order_s = self.retry_after or (0, 0)
        content = {
            "listenAddress": f"{LOOPBACK}:{https_port}",
            "managementListenAddress": f"{LOOPBACK}:{management_port}",
            "certificate": str(api.certificate),
            "privateKey": str(api.key),
            # Where http-01 and tls-alpn-01 would be tried; nothing of ours listens there.
            "httpPort": 5002,
            "tlsPort": 5001,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": self.eab is not None,
            "externalAccountMACKeys": dict(self.eab or {}),
            "retryAfter": {"authz": authz_s, "order": order_s},
            "keyAlgorithm": "ecdsa",
            "profiles": {
                name: {"description": profile.description, "validityPeriod": profile.validity_s}
                for name, profile in self.profiles.items()
            },
            # Pebble 2.4 has no profiles and reads this member instead.
            "certificateValidityPeriod": next(iter(self.profiles.values())).validity_s,
        }
        return json.dumps({"pebble": content}, indent=2)


def write_api_certificate(folder: Path, *, now: datetime | None = None) -> ApiCertificate:
    """Write a fresh root (ECDSA P-256) and its leaf for localhost and 127.0.0.1 into `folder`; drop the root's key."""
    start = (now or datetime.now(UTC)) - timedelta(hours=1)
    root_key, leaf_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "OTS Cert test: root of Pebble's own HTTPS")])
    root_id = x509.SubjectKeyIdentifier.from_public_key(root_key.public_key())
    root = (
        _builder(subject=root_name, issuer=root_name, key=root_key, start=start)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_ca_usage(), critical=True)
        .add_extension(root_id, critical=False)
        .sign(root_key, hashes.SHA256())
    )
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address(LOOPBACK))]
    leaf = (
        _builder(subject=x509.Name([]), issuer=root_name, key=leaf_key, start=start)
        .add_extension(x509.SubjectAlternativeName(names), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(root_id), critical=False)
        .sign(root_key, hashes.SHA256())
    )
    files = ApiCertificate(root=folder / "api-root.pem", certificate=folder / "api.pem", key=folder / "api.key")
    files.root.write_bytes(root.public_bytes(serialization.Encoding.PEM))
    files.certificate.write_bytes(leaf.public_bytes(serialization.Encoding.PEM))
    files.key.touch(mode=0o600)
    files.key.write_bytes(
        leaf_key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return files


def _builder(
    *, subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, start: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + API_VALIDITY)
    )


def _ca_usage() -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
