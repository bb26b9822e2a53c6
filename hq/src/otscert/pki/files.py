"""Where HQ's own keys live: a folder of PEM files, 0700, each written whole and synced before it counts.

root.pem  root.key (optional: may be kept offline)  tls.pem  answer.pem (certificates and key in one file)  store.key
While roots are rotated also cross.pem, pins.pem, root-next.pem, root-next.key, root-old.pem, root-old.key (`rotation`).
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from otscert.pki.certificates import (
    KeyPair,
    generation_of,
    make_answer_leaf,
    make_root,
    make_tls_leaf,
    names_of,
    p256,
    utc_now_from,
)
from otscert.pki.pem import RENEW_BEFORE_S, AskPassphrase, Locked, PkiError, fits, key_pem, lasts, pair_pem, read_key
from otscert.pki.seal import KEY_BYTES

LEAVES = ("tls.pem", "answer.pem")
__all__ = ["LEAVES", "RENEW_BEFORE_S", "AskPassphrase", "PkiError", "PkiFolder", "RootKey"]


class RootKey(StrEnum):
    """Where the key of the current root is, as far as HQ's folder shows."""

    HERE = "here"
    ENCRYPTED = "encrypted"
    ELSEWHERE = "elsewhere"


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

    @property
    def pins_pem(self) -> Path:
        """What the firmware pins: both roots while they are rotated, else the one there is."""
        pins = self.folder / "pins.pem"
        return pins if pins.exists() else self.root_pem

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
        self.write("store.key", os.urandom(KEY_BYTES))
        self.write("tls.pem", pair_pem(make_tls_leaf(root, hosts=hosts, generation=1, now=now)))
        self.write("answer.pem", pair_pem(make_answer_leaf(root, generation=1, now=now)))
        self.write("root.key", key_pem(root.key, passphrase))
        # Last: its presence is what says that the folder is complete.
        self.write("root.pem", root.certificate.public_bytes(Encoding.PEM))

    def store_key(self) -> bytes:
        return self.read("store.key")

    def answer(self) -> KeyPair:
        return self._pair("answer.pem")

    def tls(self) -> KeyPair:
        return self._pair("tls.pem")

    def renew_leaves(
        self, *, hosts: tuple[str, ...], now_s: int, root: KeyPair | None = None, every: bool = False
    ) -> list[str]:
        """Replace leaves that are due, or every one, while the root key is there or given; returns which."""
        with self.changing():
            due = [name for name in LEAVES if every or self.due(name, hosts=hosts, now_s=now_s)]
            root = (root or self._root_at_hand()) if due else None
            if root is None:
                return []
            for name in due:
                self.write(name, pair_pem(self.new_leaf(name, root, hosts=hosts, now_s=now_s)))
            return due

    def due(self, name: str, *, hosts: tuple[str, ...], now_s: int) -> bool:
        """Whether a leaf ends within 60 days, begins in the future (HQ's clock was wrong), or does not name `hosts`."""
        pair = self._pair(name)
        return not lasts(pair, now_s=now_s) or (name == "tls.pem" and not names_of(pair.certificate) >= set(hosts))

    def new_leaf(self, name: str, root: KeyPair, *, hosts: tuple[str, ...], now_s: int) -> KeyPair:
        """The leaf that follows the present one; it is not written."""
        generation, now = self.generation(name) + 1, utc_now_from(now_s)
        if name == "tls.pem":
            return make_tls_leaf(root, hosts=hosts, generation=generation, now=now)
        return make_answer_leaf(root, generation=generation, now=now)

    def generation(self, name: str) -> int:
        try:
            return generation_of(self._pair(name).certificate)
        except ValueError as error:
            raise PkiError(f"the generation of {self.folder / name} cannot be read: {error}") from error

    # ---- the root

    def root_certificate(self, name: str = "root.pem") -> x509.Certificate:
        try:
            certificate = x509.load_pem_x509_certificate(self.read(name))
            p256(certificate)
        except ValueError as error:
            raise PkiError(f"{self.folder / name} is no certificate of a root: {error}") from error
        return certificate

    def root_key(self) -> RootKey:
        """Where the key of the current root is; nobody is asked for a passphrase."""
        certificate, found = self.root_certificate(), RootKey.ELSEWHERE
        for path in self._root_key_files():
            try:
                if fits(read_key(path, None), certificate):
                    return RootKey.HERE
            except Locked:
                found = RootKey.ENCRYPTED
        return found

    def root(
        self, *, ask: AskPassphrase | None = None, key_file: Path | None = None, name: str = "root.pem"
    ) -> KeyPair:
        """A root with its key, from `key_file` or the folder; raises `PkiError` when no key there is its own."""
        certificate = self.root_certificate(name)
        files = [key_file] if key_file else self._root_key_files(next_first=name != "root.pem")
        for path in files:
            key = read_key(path, ask)
            if fits(key, certificate):
                return KeyPair(key=key, certificate=certificate, chain=self.cross_for(certificate))
        if key_file:
            raise PkiError(f"{key_file} is not the key of {self.folder / name}: name the right one with --root-key")
        raise PkiError(
            f"the key of {self.folder / name} is not in {self.folder}: name its file with --root-key,"
            " or sign where the key is (otscert hq-root request)"
        )

    def cross_for(self, root: x509.Certificate) -> tuple[x509.Certificate, ...]:
        """What is sent above leaves of `root`: the cross certificate, when it is for this root's key."""
        if not (self.folder / "cross.pem").exists():
            return ()
        cross = self.root_certificate("cross.pem")
        return (cross,) if p256(cross) == p256(root) else ()

    def _root_key_files(self, *, next_first: bool = False) -> list[Path]:
        # In the middle of a switch the next root is current and its key not yet renamed (`rotation`).
        files = [self.folder / "root.key", self.folder / "root-next.key"]
        return [path for path in (reversed(files) if next_first else files) if path.exists()]

    def _root_at_hand(self) -> KeyPair | None:
        """The root, or None when its key is offline or behind a passphrase."""
        return self.root() if self.root_key() is RootKey.HERE else None

    # ---- files

    def _pair(self, name: str) -> KeyPair:
        data = self.read(name)
        try:
            key = load_pem_private_key(data, None)
            certificate, *chain = x509.load_pem_x509_certificates(data)
        except (ValueError, TypeError) as error:
            raise PkiError(f"{self.folder / name} is not a certificate with its key: {error}") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise PkiError(f"{self.folder / name} does not hold an EC key")
        return KeyPair(key=key, certificate=certificate, chain=tuple(chain))

    def read(self, name: str) -> bytes:
        try:
            return (self.folder / name).read_bytes()
        except OSError as error:
            raise PkiError(
                f"{self.folder / name} cannot be read ({error.strerror}): run otscert init, or restore the folder"
            ) from error

    def write(self, name: str, data: bytes) -> None:
        """Replace a file as a whole; it is on disk when this returns."""
        temporary = self.folder / f".{name}.new"
        temporary.unlink(missing_ok=True)
        descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(self.folder / name)
        self._sync()

    def rename(self, old: str, new: str) -> None:
        (self.folder / old).rename(self.folder / new)
        self._sync()

    def remove(self, name: str) -> None:
        (self.folder / name).unlink(missing_ok=True)
        self._sync()

    def _sync(self) -> None:
        directory = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Hold the folder: a running HQ and a command do not change it at once."""
        try:
            directory = os.open(self.folder, os.O_RDONLY)
        except OSError as error:
            raise PkiError(f"{self.folder} cannot be opened ({error.strerror}): otscert init makes it") from error
        try:
            fcntl.flock(directory, fcntl.LOCK_EX)
            yield
        finally:
            os.close(directory)
