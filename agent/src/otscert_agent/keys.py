"""The box's TLS key and its CSR: `d = d0 + r`, made, proved and written as PEM.

Knows scalars, CSR, chain and key files. Does not know where they are kept or who asked for them. Every signature is
deterministic (RFC 6979).
"""

from __future__ import annotations

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from otscert_agent import trust
from otscert_agent.errors import UntrustedError, ZeroKeyError
from otscert_agent.facts import CertificateFacts
from otscert_agent.wire import point


def combine(d0: int, r: int) -> int:
    """The private TLS key `d = d0 + r mod n` (protocol.md, "Contribution"); raise `ZeroKeyError` when that is 0."""
    d = (d0 + r) % point.N
    if d == 0:
        raise ZeroKeyError("HQ's contribution cancels the box's half of the key")
    return d


def csr(scalar: int, names: list[str]) -> bytes:
    """A CSR (DER) with exactly `names` as SANs, in that order, and an empty subject."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=True)
    request = builder.sign(_private_key(scalar), hashes.SHA256(), ecdsa_deterministic=True)
    return request.public_bytes(Encoding.DER)


def key_pem(scalar: int) -> bytes:
    return _private_key(scalar).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@trust.readable()
def check_chain(chain_pem: str, scalar: int, names: list[str]) -> CertificateFacts:
    """Check what HQ delivers before it is installed: our key, our names, links that hold.

    Raises `UntrustedError`. Whether the public trusts the top is the browsers' affair: HQ may change CA at any time.
    """
    try:
        chain = x509.load_pem_x509_certificates(chain_pem.encode("ascii"))
    except ValueError:
        raise UntrustedError("the certificate chain from HQ is not PEM") from None
    leaf = chain[0]
    if _spki(leaf.public_key()) != _spki(_private_key(scalar).public_key()):
        raise UntrustedError("the certificate from HQ is for another key")
    if sorted(_dns_names(leaf)) != sorted(names):
        raise UntrustedError("the certificate from HQ is for other names")
    try:
        for certificate, issuer in zip(chain, chain[1:]):
            certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature) as error:
        raise UntrustedError(f"the certificate chain from HQ does not link up: {error}") from None
    return CertificateFacts(
        names=list(names),
        not_before=int(leaf.not_valid_before_utc.timestamp()),
        not_after=int(leaf.not_valid_after_utc.timestamp()),
        leaf_sha256=leaf.fingerprint(hashes.SHA256()).hex(),
    )


def _private_key(scalar: int) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(scalar, ec.SECP256R1())


def _spki(key: object) -> bytes:
    public_bytes: bytes = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined]  # every public key of cryptography has it
    return public_bytes


def _dns_names(leaf: x509.Certificate) -> list[str]:
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return names.get_values_for_type(x509.DNSName)
