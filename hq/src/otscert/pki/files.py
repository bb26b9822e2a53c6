"""Where HQ's own keys live: a folder of PEM files, 0700, each written whole and synced before it counts.

root.pem  root.key (optional: may be kept offline)  tls.pem  answer.pem (certificate and key in one file)  store.key
"""

from __future__ import annotations

import os
from dataclasses import dataclass
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

from otscert.pki.certificates import KeyPair, make_answer_leaf, make_root, make_tls_leaf, utc_now_from
from otscert.pki.seal import KEY_BYTES
from otscert_agent.wire.pki import EXT_GENERATION, decode_generation

RENEW_BEFORE_S = 60 * 24 * 3600


class PkiError(Exception):
    """HQ's own keys are missing or unusable; the text says which file and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PkiFolder:
    """The folder and what is in it. Nothing is read until it is asked for."""

    folder: Path

    @property
    def root_pem(self) -> Path:
        return self.folder / "root.pem"

    @property
    def tls_pem(self) -> Path:
        return self.folder / "tls.pem"

    def root_exists(self) -> str:
        """What to say to who would make a root where one is."""
        return (
            f"{self.root_pem} exists: HQ's root is pinned in firmware, so it is never replaced silently;"
            " keep it and write a configuration by hand (docs/settings.md),"
            f" or, when no box pins it, move {self.folder} away"
        )

    def create(self, *, zone: str, hosts: tuple[str, ...], passphrase: bytes | None, now_s: int) -> None:
        """Make root, leaves and store key; raise `PkiError` when there already is a root."""
        if self.root_pem.exists():
            raise PkiError(self.root_exists())
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        now = utc_now_from(now_s)
        root = make_root(zone, now=now)
        self._write("store.key", os.urandom(KEY_BYTES))
        self._write("tls.pem", _pair_pem(make_tls_leaf(root, hosts=hosts, generation=1, now=now)))
        self._write("answer.pem", _pair_pem(make_answer_leaf(root, generation=1, now=now)))
        self._write("root.key", _key_pem(root.key, passphrase))
        # Last: its presence is what says that the folder is complete.
        self._write("root.pem", root.certificate.public_bytes(Encoding.PEM))

    def store_key(self) -> bytes:
        return self._read("store.key")

    def answer(self) -> KeyPair:
        return self._pair("answer.pem")

    def tls(self) -> KeyPair:
        return self._pair("tls.pem")

    def renew_leaves(self, *, hosts: tuple[str, ...], now_s: int) -> list[str]:
        """Replace leaves that end within 60 days or do not name `hosts`, while the root key is there; returns which."""
        renewed = []
        root: KeyPair | None = None
        for name in ("tls.pem", "answer.pem"):
            pair = self._pair(name)
            if _lasts(pair, now_s=now_s) and (name != "tls.pem" or _names(pair) >= set(hosts)):
                continue
            root = root or self._root()
            if root is None:
                continue
            generation, now = _generation(pair) + 1, utc_now_from(now_s)
            new = (
                make_tls_leaf(root, hosts=hosts, generation=generation, now=now)
                if name == "tls.pem"
                else make_answer_leaf(root, generation=generation, now=now)
            )
            self._write(name, _pair_pem(new))
            renewed.append(name)
        return renewed

    def _root(self) -> KeyPair | None:
        """The root with its key, or None when the key is offline or behind a passphrase."""
        try:
            key = load_pem_private_key((self.folder / "root.key").read_bytes(), None)
        except (FileNotFoundError, TypeError):
            return None
        certificate = x509.load_pem_x509_certificate(self._read("root.pem"))
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise PkiError(f"{self.folder / 'root.key'} is not an EC key")
        return KeyPair(key=key, certificate=certificate)

    def _pair(self, name: str) -> KeyPair:
        data = self._read(name)
        try:
            key = load_pem_private_key(data, None)
            certificate = x509.load_pem_x509_certificate(data)
        except ValueError as error:
            raise PkiError(f"{self.folder / name} is not a certificate with its key: {error}") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise PkiError(f"{self.folder / name} does not hold an EC key")
        return KeyPair(key=key, certificate=certificate)

    def _read(self, name: str) -> bytes:
        try:
            return (self.folder / name).read_bytes()
        except OSError as error:
            raise PkiError(
                f"{self.folder / name} cannot be read ({error.strerror}): run otscert init, or restore the folder"
            ) from error

    def _write(self, name: str, data: bytes) -> None:
        temporary = self.folder / f".{name}.new"
        temporary.unlink(missing_ok=True)
        descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(self.folder / name)
        directory = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def _lasts(pair: KeyPair, *, now_s: int) -> bool:
    return pair.certificate.not_valid_after_utc.timestamp() - now_s > RENEW_BEFORE_S


def _names(pair: KeyPair) -> set[str]:
    names = pair.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress))}


def _generation(pair: KeyPair) -> int:
    extension = pair.certificate.extensions.get_extension_for_oid(x509.ObjectIdentifier(EXT_GENERATION)).value
    if not isinstance(extension, x509.UnrecognizedExtension):
        raise PkiError("the generation of one of HQ's own certificates cannot be read")
    return decode_generation(extension.value)


def _key_pem(key: ec.EllipticCurvePrivateKey, passphrase: bytes | None) -> bytes:
    encryption: KeySerializationEncryption = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


def _pair_pem(pair: KeyPair) -> bytes:
    return pair.certificate.public_bytes(Encoding.PEM) + _key_pem(pair.key, None)
