"""Brings the real parts to this machine: `python3 -m parts.fetch [NAME ...]`, all of them without a name.

Standard library only. Unpacks without root and starts no daemon; what is here already costs no network. Status 1 when
a part could not be had; a part that needs root is named, with the command, and is no failure.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from functools import cache

from parts.apt import PrivateApt, architecture_of_machine, open_suite, run
from parts.catalog import (
    STORE,
    InstalledPart,
    PartError,
    Pin,
    Record,
    UnpackedPart,
    installed_parts,
    missing_libraries,
    read_pins,
    read_record,
    unpacked_parts,
    write_record,
)


def main(names: list[str]) -> int:
    unpacked, installed = unpacked_parts(), installed_parts()
    if unknown := set(names) - unpacked.keys() - installed.keys():
        print(f"parts: no such part: {', '.join(sorted(unknown))}", file=sys.stderr)
        return 2
    STORE.mkdir(exist_ok=True)
    failed = [part.name for part in unpacked.values() if part.name in (names or unpacked) and not _obtain(part)]
    wanted = [part for part in installed.values() if part.name in (names or installed)]
    if not _install([part for part in wanted if part.path is None]):
        failed.append("apt-get install")
    if failed:
        print(f"parts: could not be had: {', '.join(failed)}", file=sys.stderr)
        return 1
    return 0


def _obtain(part: UnpackedPart) -> bool:
    if part.or_on_path and shutil.which(part.name) is not None:
        print(f"parts: {part.name}: on PATH")
        return True
    try:
        if _architecture() not in part.architectures:
            print(f"parts: {part.name}: only on {', '.join(part.architectures)}")
            return True
        record = read_record(part)
        if record is None or record.pins != _pins_of(part):
            record = _fetch(part)
    except PartError as error:
        print(f"parts: {part.name}: {error}", file=sys.stderr)
        return False
    print(f"parts: {part.name}: {part.package} {record.version}")
    for warning in record.warnings:
        print(f"parts: WARNING: {warning}", file=sys.stderr)
    return True


def _fetch(part: UnpackedPart) -> Record:
    part.record.unlink(missing_ok=True)
    shutil.rmtree(part.folder, ignore_errors=True)
    version, warnings = _unpack(part, (part.package,))
    if missing_libraries(part):
        _, more = _unpack(part, part.libraries)
        warnings += more
    if missing := missing_libraries(part):
        raise PartError(f"{part.package} {version} needs libraries that are not here: {', '.join(missing)}")
    record = Record(version=version, warnings=warnings, pins=_pins_of(part))
    write_record(part, record)
    return record


def _unpack(part: UnpackedPart, packages: tuple[str, ...]) -> tuple[str, list[str]]:
    apt, where = _suite(part.suite), _where(part)
    pins, available = read_pins().get(where, {}), apt.available(packages)
    chosen = {
        package: choose(package=package, where=where, pin=pins.get(package), available=available[package])
        for package in packages
    }
    for deb in apt.download({package: pin for package, (pin, _) in chosen.items()}):
        run(["dpkg-deb", "-x", str(deb), str(part.folder)], cwd=STORE)
        deb.unlink()
    return chosen[packages[0]][0].version, [warning for _, warning in chosen.values() if warning is not None]


def choose(*, package: str, where: str, pin: Pin | None, available: list[Pin]) -> tuple[Pin, str | None]:
    """Return which .deb to take, and the warning when it is not the pinned one.

    Raises:
        PartError: when the index has the pinned version with another hash, or no version at all.
    """
    if not available:
        raise PartError(f"the mirror's {where} has no package {package}")
    if pin is None:
        newest = available[0]
        return newest, f"{package} is not pinned for {where}: took {newest.version}, checked by apt's signed index only"
    for listed in available:
        if listed.version == pin.version:
            if listed.sha256 != pin.sha256:
                raise PartError(
                    f"{package} {pin.version} is pinned with SHA-256 {pin.sha256}, {where} has {listed.sha256}"
                )
            return pin, None
    newest = available[0]
    return newest, (
        f"{package} has MOVED: {pin.version} is pinned, {where} has {newest.version} now; took that one, "
        "checked by apt's signed index only (`make pins` writes new pins)"
    )


def _install(absent: list[InstalledPart]) -> bool:
    if not absent:
        return True
    packages = sorted(part.package for part in absent)
    command = ["apt-get", "install", "-y", "--no-install-recommends", *packages]
    if os.geteuid() != 0:
        names = ", ".join(part.name for part in absent)
        print(f"parts: {names}: only root can install these:\n    sudo {' '.join(command)}")
        return True
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for step in (["apt-get", "-q", "update"], command):
        print(f"parts: {' '.join(step)}", flush=True)
        if subprocess.run(step, env=environment, stdin=subprocess.DEVNULL, check=False).returncode != 0:
            return False
    return True


def _pins_of(part: UnpackedPart) -> dict[str, str | None]:
    pins = read_pins().get(_where(part), {})
    return {name: pins[name].sha256 if name in pins else None for name in (part.package, *part.libraries)}


def _where(part: UnpackedPart) -> str:
    return f"{part.suite}-{_architecture()}"


@cache
def _architecture() -> str:
    return architecture_of_machine()


@cache
def _suite(suite: str) -> PrivateApt:
    print(f"parts: reading the index of Debian {suite}", flush=True)
    return open_suite(suite)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
