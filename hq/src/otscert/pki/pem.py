"""Keys and certificates as PEM: how a root's key is opened, whether it belongs to a certificate, how a leaf is stored.

Reads single files. Does not know which files HQ's folder has.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from otscert.pki.certificates import KeyPair, p256

RENEW_BEFORE_S = 60 * 24 * 3600
AskPassphrase = Callable[[Path], bytes]
"""Called for a key that is encrypted, with its file."""


class PkiError(Exception):
    """HQ's own keys are missing or unusable; the text says which file and what to do."""


class Locked(PkiError):
    """A key is behind a passphrase, and nobody was there to ask for it."""


def read_key(path: Path, ask: AskPassphrase | None) -> ec.EllipticCurvePrivateKey:
    """Read a root's key; raises `Locked`, or `PkiError` for what is no key or a wrong passphrase."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise PkiError(f"{path} cannot be read ({error.strerror})") from error
    try:
        key = load_pem_private_key(data, None)
    except TypeError:
        if ask is None:
            raise Locked(f"{path} is behind a passphrase") from None
        try:
            key = load_pem_private_key(data, ask(path))
        except ValueError:
            raise PkiError(f"the passphrase does not open {path}") from None
    except ValueError as error:
        raise PkiError(f"{path} is no private key in PEM: {error}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise PkiError(f"{path} is not an EC key")
    return key


def fits(key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> bool:
    return key.public_key() == p256(certificate)


def lasts(pair: KeyPair, *, now_s: int) -> bool:
    """Whether boxes accept this leaf now and for another 60 days."""
    leaf = pair.certificate
    begun = leaf.not_valid_before_utc.timestamp() <= now_s
    return begun and leaf.not_valid_after_utc.timestamp() - now_s > RENEW_BEFORE_S


def key_pem(key: ec.EllipticCurvePrivateKey, passphrase: bytes | None) -> bytes:
    encryption: KeySerializationEncryption = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


def pair_pem(pair: KeyPair) -> bytes:
    """A leaf's file: its certificate, those above it, its key."""
    certificates = [each.public_bytes(Encoding.PEM) for each in (pair.certificate, *pair.chain)]
    return b"".join(certificates) + key_pem(pair.key, None)
