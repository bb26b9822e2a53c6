"""The key that signs manifests: one PEM file (Ed25519, 0600), made by the first stamp that needs it.

Whoever has it can make HQ believe in units that nobody stamped; it belongs where units are stamped and nowhere else.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from otscert.factory.errors import FactoryError
from otscert.factory.unit_folder import sync_folder
from otscert_agent.wire.keys import Signer


def load_key(path: Path) -> Signer | None:
    """The key in the file, None when there is no file; raise `FactoryError` when it cannot be used."""
    try:
        with path.open("rb") as file:
            mode, pem = os.fstat(file.fileno()).st_mode, file.read(4096)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise FactoryError(f"the manifest key {path} cannot be read: {error.strerror}") from error
    if mode & 0o077:
        raise FactoryError(f"the manifest key {path} can be read by others: chmod 600 {path}")
    try:
        key = load_pem_private_key(pem, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise FactoryError(f"the manifest key {path} is not a PEM private key without passphrase") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise FactoryError(f"the manifest key {path} is not an Ed25519 key")
    return Signer(key)


def make_key(path: Path) -> Signer:
    """Make the key and its file, durably and never over another one; raise `FactoryError`."""
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    candidate = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(candidate, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(pem)
                file.flush()
                os.fsync(file.fileno())
            os.link(candidate, path)  # unlike a rename it never replaces: of two stamps at once, one makes the key
            sync_folder(path.parent)
        finally:
            candidate.unlink()
    except FileExistsError:
        existing = load_key(path)
        if existing is None:
            raise FactoryError(f"the manifest key {path} came and went; try again") from None
        return existing
    except OSError as error:
        raise FactoryError(f"the manifest key {path} cannot be made: {error.strerror}") from error
    return Signer(key)
