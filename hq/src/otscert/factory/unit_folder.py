"""One unit's folder: what goes into its factory partition or U-Boot environment, and a description without secrets.

Knows the files and their form. Does not know how secrets are made or what HQ thinks of the unit.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from otscert.factory.errors import FactoryError
from otscert_agent.wire.errors import WireError
from otscert_agent.wire.factory import Factory
from otscert_agent.wire.jws import json_object

SECRET_FILE = "factory.secret"  # noqa: S105 - a file's name
UBOOT_FILE = "uboot.env"
UBOOT_SECRET = "otscert_factory"  # noqa: S105 - a variable's name
UBOOT_SERIAL = "otscert_serial"
UNIT_FILE = "unit.json"
UNITS_FOLDER = "units"
"""In a batch: a folder for each unit."""
HOLD_FILE = "hold"
VERSION = 1
_MOST_BYTES = 4096


class Form(StrEnum):
    """What the box reads its secret from."""

    FILES = "files"  # a file of a factory partition
    UBOOT = "uboot"  # name=value lines, for fw_setenv --script and for mkenvimage


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitFacts:
    """unit.json: all that is known of a unit, and none of it secret. Keys are base64url."""

    model: str
    serial: str
    short_id: str
    batch: str
    thumbprint: str
    sign: str
    seal: str
    url: str


def write_unit(folder: Path, factory: Factory, facts: UnitFacts, *, form: Form, hold: bool) -> None:
    """Make the folder with its files, durably; raises `OSError`."""
    folder.mkdir(mode=0o700)
    if form is Form.FILES:
        write_durably(folder / SECRET_FILE, f"{factory.text()}\n".encode("ascii"), mode=0o600)
    else:
        lines = f"{UBOOT_SECRET}={factory.text()}\n{UBOOT_SERIAL}={facts.serial}\n"
        write_durably(folder / UBOOT_FILE, lines.encode("ascii"), mode=0o600)
    document = {"otscert_unit": VERSION, **asdict(facts)}
    write_durably(folder / UNIT_FILE, json.dumps(document, indent=2).encode("ascii") + b"\n", mode=0o644)
    if hold:
        write_durably(folder / HOLD_FILE, b"on the line: not released yet\n", mode=0o644)
    sync_folder(folder)


def read_secret(folder: Path) -> tuple[Path, int, Factory]:
    """The file with the secret, its mode and the secret; raise `FactoryError`, which never repeats the text."""
    found = [path for path in (folder / SECRET_FILE, folder / UBOOT_FILE) if path.exists()]
    if len(found) != 1:
        what = "neither" if not found else "both"
        raise FactoryError(f"{folder} has {what} of {SECRET_FILE} and {UBOOT_FILE}; a stamped unit has one of them")
    path = found[0]
    mode, data = _read(path)
    text = data.decode("ascii", errors="replace")
    if path.name == UBOOT_FILE:
        values = [line.partition("=")[2] for line in text.splitlines() if line.startswith(f"{UBOOT_SECRET}=")]
        if len(values) != 1:
            raise FactoryError(f"{path} does not have {UBOOT_SECRET} exactly once")
        text = values[0]
    try:
        return path, mode, Factory.from_text(text)
    except WireError as error:
        raise FactoryError(f"{path}: {error}") from None


def read_facts(folder: Path) -> UnitFacts:
    """What unit.json says; raise `FactoryError`."""
    path = folder / UNIT_FILE
    _, data = _read(path)
    try:
        members = json_object(data, what=str(path))
    except WireError as error:
        raise FactoryError(str(error)) from None
    if members.pop("otscert_unit", None) != VERSION:
        raise FactoryError(f"{path} is not a unit's description of version {VERSION}")
    names = UnitFacts.__dataclass_fields__
    if set(members) != set(names) or not all(isinstance(value, str) for value in members.values()):
        raise FactoryError(f"{path} must have exactly the texts {', '.join(names)}")
    return UnitFacts(**members)


def write_durably(path: Path, data: bytes, *, mode: int) -> None:
    """Make the file, which is not there yet, and return when it is on disk."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Return when the folder's entries are on disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read(path: Path) -> tuple[int, bytes]:
    try:
        # Without waiting: what lies there may be a pipe.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            status: Any = os.fstat(file.fileno())
            return status.st_mode, file.read(_MOST_BYTES) or b""
    except OSError as error:
        raise FactoryError(f"{path} cannot be read: {error.strerror}") from error
