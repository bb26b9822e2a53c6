"""Reads `parts.toml` (what each part is) and `pins.toml` (its version and hash), and knows where `.parts` keeps it.

Fetches nothing and starts nothing but the dynamic linker's lister.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
STORE = CHECKOUT / ".parts"
# Debian's names of the machines that parts are pinned for.
ARCHITECTURES = ("amd64", "arm64")
# Debian's multiarch folders; a pattern because the triplet differs per architecture.
LIBRARY_FOLDERS = ("usr/lib/*-linux-gnu*", "lib/*-linux-gnu*", "usr/lib/*-linux-gnu*/*")


class PartError(Exception):
    """A real part cannot be had as it is described."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """The one .deb of a package that was looked at; `sha256` is that of the whole file, in hexadecimal."""

    version: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UnpackedPart:
    """A part that is unpacked from Debian packages into `.parts/<name>/`."""

    name: str
    suite: str
    package: str
    commands: tuple[str, ...]
    libraries: tuple[str, ...]
    or_on_path: bool
    architectures: tuple[str, ...]

    @property
    def folder(self) -> Path:
        return STORE / self.name

    @property
    def record(self) -> Path:
        return STORE / f"{self.name}.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class InstalledPart:
    """A command that only the machine's own package manager can install."""

    name: str
    package: str

    @property
    def path(self) -> Path | None:
        found = shutil.which(self.name)
        return None if found is None else Path(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """How to start a part's command: its path, and what its environment needs on top of the caller's."""

    path: Path
    env: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What was fetched for a part: its version, what was said aloud about it, and the hashes pinned at that time."""

    version: str
    warnings: list[str]
    pins: dict[str, str | None]


def unpacked_parts() -> dict[str, UnpackedPart]:
    table = tomllib.loads((CHECKOUT / "parts" / "parts.toml").read_text())["unpacked"]
    return {
        name: UnpackedPart(
            name=name,
            suite=entry["suite"],
            package=entry["package"],
            commands=tuple(entry["commands"]),
            libraries=tuple(entry["libraries"]),
            or_on_path=entry.get("or_on_path", False),
            architectures=tuple(entry.get("architectures", ARCHITECTURES)),
        )
        for name, entry in table.items()
    }


def installed_parts() -> dict[str, InstalledPart]:
    table = tomllib.loads((CHECKOUT / "parts" / "parts.toml").read_text())["installed"]
    return {name: InstalledPart(name=name, package=entry["package"]) for name, entry in table.items()}


def read_pins() -> dict[str, dict[str, Pin]]:
    """Return the pins: `<suite>-<architecture>` -> package -> pin."""
    table = tomllib.loads((CHECKOUT / "parts" / "pins.toml").read_text())
    return {where: {name: Pin(**entry) for name, entry in packages.items()} for where, packages in table.items()}


def library_environment(folder: Path) -> dict[str, str]:
    """Return what lets the dynamic linker find the libraries that were unpacked into a part's folder."""
    found = {library.parent for pattern in LIBRARY_FOLDERS for library in folder.glob(f"{pattern}/*.so*")}
    return {"LD_LIBRARY_PATH": ":".join(sorted(map(str, found)))} if found else {}


def missing_libraries(part: UnpackedPart) -> list[str]:
    """Return the sonames that the dynamic linker does not find for the part's commands."""
    missing: set[str] = set()
    for command in part.commands:
        listing = subprocess.run(
            ["ldd", str(part.folder / command)],
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C", **library_environment(part.folder)},
            capture_output=True,
            text=True,
            check=False,  # it fails for a static program, which misses nothing
        ).stdout
        missing |= {line.split()[0] for line in listing.splitlines() if line.rstrip().endswith("=> not found")}
    return sorted(missing)


def find_command(name: str) -> Command | None:
    """Return how to start a part's command by its name (`nsd`, `nsd-checkconf`, `pebble-2.4`, `chromium`), or None.

    A part in `.parts` is preferred: its version is the one that was looked at.
    """
    for part in unpacked_parts().values():
        for command in part.commands:
            called = part.name if command == part.commands[0] else Path(command).name
            if called == name and part.record.is_file():
                return Command(path=part.folder / command, env=library_environment(part.folder))
    on_path = shutil.which(name)
    return None if on_path is None else Command(path=Path(on_path), env={})


def read_record(part: UnpackedPart) -> Record | None:
    """Return what was fetched for the part, or None when it is not here as a whole."""
    if not part.record.is_file() or not all((part.folder / command).is_file() for command in part.commands):
        return None
    return Record(**json.loads(part.record.read_text()))


def write_record(part: UnpackedPart, record: Record) -> None:
    """Declare the part fetched; moved into place last, because a part without its record is not there."""
    draft = part.record.with_suffix(".draft")
    draft.write_text(json.dumps(asdict(record), indent=2))
    draft.replace(part.record)
