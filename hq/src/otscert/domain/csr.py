"""Is this CSR exactly the one that HQ asked for? Everything else is refused with the reason.

Checks RFC 2986 signature, key, and names; knows nothing of who sent it. Whether an RSA key is weak takes a library and
the fleet's other keys (`service/key_checks.py`); here it only has to be of a kind that a CA takes.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from otscert.domain.admission import Model
from otscert.domain.assurance import Contribution
from otscert.domain.errors import DomainError
from otscert.domain.key_index import KeyIndex, index_of

MAX_CSR_BYTES = 4096  # ours is about 350 bytes; two 253-byte names and a 4096-bit RSA key stay below 2 kB
RSA_BITS = (2048, 3072, 4096)
"""What public CAs take: Baseline Requirements 6.1.5 says at least 2048 and a multiple of 8, Boulder takes these."""
RSA_EXPONENT = 65537


class CsrRefused(DomainError):
    """The CSR is not the one that was asked for; the text says what differs."""


class ContributionMismatch(CsrRefused):
    """The CSR's key is not D0 + r*G."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedCsr:
    """`contribution` is what of HQ's randomness is in the key, shown by algebra; `modulus` is an RSA key's."""

    der: bytes
    sha256: bytes
    index: KeyIndex
    contribution: Contribution
    modulus: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RsaPermission:
    allowed: bool
    reason: str


def may_use_rsa(model: Model) -> RsaPermission:
    """May a box of this model bring an RSA key? HQ's contribution cannot be in one, so the model must do without."""
    missing = []
    if not model.allow_rsa:
        missing.append(f"model.{model.name}.allow_rsa = true")
    if model.min_contribution is not Contribution.NONE:
        missing.append(f'model.{model.name}.min_contribution = "none"')
    if missing:
        return RsaPermission(
            allowed=False,
            reason="the CSR's key is RSA, not on P-256, and HQ's contribution cannot be in an RSA key: make a P-256"
            f" key, or let HQ's operator set {' and '.join(missing)}",
        )
    return RsaPermission(allowed=True, reason="the model allows RSA and demands no contribution")


def check_csr(
    der: bytes,
    *,
    names: tuple[str, ...],
    expected_point: bytes,
    contribution: Contribution,
    rsa_allowed: RsaPermission,
) -> CheckedCsr:
    """Check a DER CSR against the names and the 65-byte SEC1 point that HQ expects; raise `CsrRefused`.

    `contribution` is how HQ's half of that point travelled.
    """
    csr = _parse(der)
    key = _public_key(csr)
    if isinstance(key, rsa.RSAPublicKey):
        _check_rsa(key, rsa_allowed)
    _check_form(csr, key)
    _check_signature(csr)
    _check_names(csr, names)
    modulus = None
    if isinstance(key, rsa.RSAPublicKey):
        modulus, contribution = key.public_numbers().n, Contribution.NONE
    elif key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint) != expected_point:
        raise ContributionMismatch(
            "the CSR's key is not D0 + r*G: make the key from d0 and HQ's contribution of this transaction"
        )
    return CheckedCsr(
        der=der,
        sha256=hashlib.sha256(der).digest(),
        index=index_of(key),
        contribution=contribution,
        modulus=modulus,
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


def _public_key(csr: x509.CertificateSigningRequest) -> ec.EllipticCurvePublicKey | rsa.RSAPublicKey:
    try:
        key = csr.public_key()
    except (ValueError, UnsupportedAlgorithm):
        raise CsrRefused("the CSR's key cannot be read") from None
    if isinstance(key, rsa.RSAPublicKey):
        return key
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise CsrRefused("the CSR's key is not on P-256, the only curve HQ contributes to")
    return key


def _check_rsa(key: rsa.RSAPublicKey, permission: RsaPermission) -> None:
    if not permission.allowed:
        raise CsrRefused(permission.reason)
    if key.key_size not in RSA_BITS:
        sizes = ", ".join(str(bits) for bits in RSA_BITS)
        raise CsrRefused(f"the CSR's RSA key has {key.key_size} bits; HQ takes {sizes}, as public CAs do")
    if key.public_numbers().e != RSA_EXPONENT:
        raise CsrRefused(f"the CSR's RSA key has another exponent than {RSA_EXPONENT}")


def _check_form(csr: x509.CertificateSigningRequest, key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey) -> None:
    """Refuse a compressed point and id-RSASSA-PSS: the key would be indexed by another SPKI than the certificate's."""
    if key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) not in csr.tbs_certrequest_bytes:
        raise CsrRefused("the CSR's key is not an uncompressed point or a plain RSA key, as certificates have them")


def _check_signature(csr: x509.CertificateSigningRequest) -> None:
    if csr.signature_algorithm_oid == x509.SignatureAlgorithmOID.RSASSA_PSS:
        raise CsrRefused("the CSR's signature is RSASSA-PSS; use PKCS #1 v1.5, which every CA reads")
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
