"""Which folder a command of `otscert hq-root` is about, how its key is opened, and the files that travel."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import typer

from otscert.cli.errors import CommandFailed
from otscert.cli.options import load_config
from otscert.pki.files import PkiFolder


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The folder that a command is about, and HQ's host names when it is HQ's own."""

    pki: PkiFolder
    hosts: tuple[str, ...]

    @classmethod
    def of(cls, config: Path | None, folder: Path | None) -> Place:
        if folder is not None:
            return cls(pki=PkiFolder(folder=folder), hosts=())
        loaded = load_config(config)
        return cls(pki=PkiFolder(folder=loaded.pki_dir), hosts=(loaded.public_host,))

    def to_change(self) -> PkiFolder:
        """The folder, when what is written there can be read by who owns it."""
        try:
            owner = self.pki.folder.stat().st_uid
        except OSError as error:
            raise CommandFailed(f"{self.pki.folder} cannot be opened: {error.strerror}") from error
        if owner != os.geteuid():
            raise CommandFailed(f"{self.pki.folder} belongs to another user: run this as that user")
        return self.pki


@dataclass(slots=True, kw_only=True)
class Keyring:
    """Gets the passphrase of a key that needs one: from a file, or from the terminal. Never from the command line."""

    file: Path | None
    used: bytes | None = field(default=None, repr=False)

    def ask(self, key: Path) -> bytes:
        if self.used is None:
            self.used = self._from_file(self.file) if self.file else self._from_terminal(key)
        return self.used

    @staticmethod
    def _from_terminal(key: Path) -> bytes:
        return str(typer.prompt(f"Passphrase of {key}", hide_input=True, err=True)).encode()

    @staticmethod
    def _from_file(file: Path) -> bytes:
        try:
            if stat.S_IMODE(file.stat().st_mode) & 0o077:
                raise CommandFailed(f"{file} can be read by others: chmod 600 {file}")
            return file.read_bytes().rstrip(b"\r\n")
        except OSError as error:
            raise CommandFailed(f"{file} cannot be read: {error.strerror}") from error


def read_document(file: Path) -> dict[str, Any]:
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise CommandFailed(f"{file} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise CommandFailed(f"{file} is not JSON: it was cut off, or is another file") from error
    if not isinstance(document, dict):
        raise CommandFailed(f"{file} is not a file of otscert hq-root")
    return document


def write_document(file: Path, document: dict[str, Any]) -> None:
    try:
        file.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise CommandFailed(f"{file} cannot be written: {error.strerror}") from error
