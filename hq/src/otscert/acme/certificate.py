"""Certificates as the CA hands them out (RFC 8555 section 7.4.2) and their ARI id (RFC 9773 section 4.1).

It reads a chain and states facts; whether the chain is trusted or fits an order is the caller's question.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from otscert.acme.errors import ChainError
from otscert_agent.wire import b64

MAX_CERTIFICATES = 10
_LABEL = re.compile(rb"-----BEGIN ([^-\r\n]*)-----")


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """Facts of an end-entity certificate. `spki_sha256` is over the DER SubjectPublicKeyInfo, `sha256` over the DER."""

    serial: int
    not_before: datetime
    not_after: datetime
    spki_sha256: bytes
    sha256: bytes
    names: frozenset[str]
    ari_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """A certificate chain, end-entity first. `root` is the common name of what the last certificate is issued by."""

    pem: str
    ders: tuple[bytes, ...]
    leaf: Leaf
    root: str

    @classmethod
    def parse(cls, pem: bytes) -> Chain:
        """Read "application/pem-certificate-chain" (RFC 8555 section 9.1).

        Raises:
            ChainError: when there is no certificate, more than ten, anything else than certificates, or an order
                in which a certificate does not directly certify the one before it (RFC 8446 section 4.4.2).
        """
        # RFC 8555 section 11.4: "the client ... verify that the response contains only certificates".
        labels = _LABEL.findall(pem)
        if not labels or set(labels) != {b"CERTIFICATE"} or len(labels) > MAX_CERTIFICATES:
            raise ChainError("the CA's answer is not a chain of one to ten PEM certificates")
        try:
            certificates = x509.load_pem_x509_certificates(pem)
            leaf = leaf_of(certificates[0])
            linked = all(one.issuer == by.subject for one, by in pairwise(certificates))
            ders = tuple(each.public_bytes(Encoding.DER) for each in certificates)
            root = _common_name(certificates[-1].issuer)
            text = pem.decode("ascii")
        except (ValueError, TypeError) as error:
            raise ChainError(f"the CA's answer holds a certificate that cannot be read: {error}") from error
        if not linked:
            raise ChainError("the CA's chain is not in order: a certificate is not issued by the next one")
        return cls(pem=text, ders=ders, leaf=leaf, root=root)


def leaf_of(certificate: x509.Certificate) -> Leaf:
    """State the facts of one certificate; raises ValueError where its extensions cannot be read."""
    spki = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return Leaf(
        serial=certificate.serial_number,
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        spki_sha256=hashlib.sha256(spki).digest(),
        sha256=hashlib.sha256(certificate.public_bytes(Encoding.DER)).digest(),
        names=_names(certificate),
        ari_id=ari_id(certificate),
    )


def ari_id(certificate: x509.Certificate) -> str | None:
    """Return the certificate's id for renewal information, None for one without an authority key id.

    RFC 9773 section 4.1: "base64url-encoding ... the keyIdentifier field of ... AuthorityKeyIdentifier", a period,
    and the same of "the DER-encoded Serial Number field (without the tag and length bytes)".
    """
    try:
        authority = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    except x509.ExtensionNotFound:
        return None
    if authority is None:
        return None
    # DER's INTEGER is signed: a leading zero byte keeps a serial with its highest bit set positive.
    serial = certificate.serial_number
    return f"{b64.encode(authority)}.{b64.encode(serial.to_bytes(serial.bit_length() // 8 + 1, 'big'))}"


def revocation_payload(certificate_der: bytes, reason: int) -> dict[str, object]:
    """Return the payload of revokeCert; `reason` is a CRLReason code of RFC 5280 section 5.3.1."""
    return {"certificate": b64.encode(certificate_der), "reason": reason}


def _names(certificate: x509.Certificate) -> frozenset[str]:
    try:
        san = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return frozenset()
    return frozenset(name.lower() for name in san.get_values_for_type(x509.DNSName))


def _common_name(name: x509.Name) -> str:
    values = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    value = values[0].value if values else ""
    return value if isinstance(value, str) else value.decode("utf-8", "replace")
