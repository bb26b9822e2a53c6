"""Is this CSR exactly the one that HQ asked for? Everything else is refused with the reason.

Checks RFC 2986 signature, key, and names; knows nothing of who sent it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from otscert.domain.errors import DomainError

MAX_CSR_BYTES = 4096  # ours is about 350 bytes; two 253-byte names and a P-384 key stay below 1 kB


class CsrRefused(DomainError):
    """The CSR is not the one that was asked for; the text says what differs."""


class ContributionMismatch(CsrRefused):
    """The CSR's key is not D0 + r*G."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedCsr:
    der: bytes
    sha256: bytes
    spki_sha256: bytes
    x_coordinate: bytes


def check_csr(der: bytes, *, names: tuple[str, ...], expected_point: bytes) -> CheckedCsr:
    """Check a DER CSR against the names and the 65-byte SEC1 point that HQ expects; raise `CsrRefused`."""
    csr = _parse(der)
    key = _public_key(csr)
    _check_signature(csr)
    _check_names(csr, names)
    if key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint) != expected_point:
        raise ContributionMismatch(
            "the CSR's key is not D0 + r*G: make the key from d0 and HQ's contribution of this transaction"
        )
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return CheckedCsr(
        der=der,
        sha256=hashlib.sha256(der).digest(),
        spki_sha256=hashlib.sha256(spki).digest(),
        x_coordinate=expected_point[1:33],
    )


def _parse(der: bytes) -> x509.CertificateSigningRequest:
    if len(der) > MAX_CSR_BYTES:
        raise CsrRefused(f"the CSR is {len(der)} bytes long, more than {MAX_CSR_BYTES}")
    try:
        csr = x509.load_der_x509_csr(der)
        # The signature ends the structure; the octet before it counts the unused bits of its last octet (X.690, 8.6.2).
        if der[-len(csr.signature) - 1] != 0:
            raise CsrRefused("the CSR's signature is not a whole number of octets")
    except (ValueError, x509.InvalidVersion):
        raise CsrRefused("the CSR is not a DER PKCS #10 structure") from None
    return csr


def _public_key(csr: x509.CertificateSigningRequest) -> ec.EllipticCurvePublicKey:
    try:
        key = csr.public_key()
    except (ValueError, UnsupportedAlgorithm):
        raise CsrRefused("the CSR's key cannot be read") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise CsrRefused("the CSR's key is not on P-256, the only curve HQ contributes to")
    return key


def _check_signature(csr: x509.CertificateSigningRequest) -> None:
    try:
        digest = csr.signature_hash_algorithm
    except UnsupportedAlgorithm:
        digest = None
    if not isinstance(digest, hashes.SHA256 | hashes.SHA384 | hashes.SHA512):
        raise CsrRefused("the CSR's signature does not use SHA-256, SHA-384 or SHA-512")
    if not csr.is_signature_valid:
        raise CsrRefused("the CSR's signature is not by its own key")


def _check_names(csr: x509.CertificateSigningRequest, names: tuple[str, ...]) -> None:
    found = _subject_alternative_names(csr)
    if sorted(found) != sorted(names):
        raise CsrRefused(f"the CSR's names must be exactly {', '.join(names)}; it has {_listed(found)}")
    for attribute in _subject(csr):
        # RFC 8555, section 7.4: names may stand in CN too, but only those; anything else a CA would drop or reject.
        if attribute.oid != x509.NameOID.COMMON_NAME or attribute.value not in names:
            raise CsrRefused("the CSR's subject must be empty or hold one of the names as CN")


def _subject(csr: x509.CertificateSigningRequest) -> list[x509.NameAttribute[str | bytes]]:
    try:
        return list(csr.subject)
    except ValueError:  # parsed only now: a text that is not of its type
        raise CsrRefused("the CSR's subject cannot be read") from None


def _subject_alternative_names(csr: x509.CertificateSigningRequest) -> list[str]:
    try:
        extension = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        raise CsrRefused("the CSR's extensions cannot be read") from None
    found = []
    for name in extension.value:
        if not isinstance(name, x509.DNSName):
            raise CsrRefused("the CSR asks for something that is not a DNS name (an address, a URI or a mailbox)")
        found.append(name.value)
    return found


def _listed(names: list[str]) -> str:
    shown = ", ".join(name[:80] for name in names[:4])
    return shown + (f" and {len(names) - 4} more" if len(names) > 4 else "") if names else "none"
