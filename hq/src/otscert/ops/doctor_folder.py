"""The data folder, the disk below it and the database in it."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from otscert.config import Config
from otscert.domain.device import DeviceState
from otscert.ops.doctor_finding import Finding, failed, ok, unknown, warning
from otscert.store.errors import StoreError
from otscert.store.opening import describe, open_store
from otscert.store.schema import SCHEMA_VERSION
from otscert.store.transaction import Transaction

_MB = 1_000_000
_FULL_BYTES = 100 * _MB
_TIGHT_BYTES = 1000 * _MB


def check_folder(folder: Path) -> Iterator[Finding]:
    """Exists, can be written by this user, is closed to others, has room."""
    try:
        mode = stat.S_IMODE(folder.stat().st_mode)
    except OSError as error:
        yield failed(
            "data.folder",
            f"the data folder {folder} cannot be opened: {error.strerror}",
            why="HQ keeps its keys and its database there",
            mend="run otscert init, or correct data_dir",
        )
        return
    if not os.access(folder, os.W_OK | os.X_OK):
        yield failed(
            "data.folder",
            f"the data folder {folder} cannot be written by this user",
            why="HQ stores every step before it acts, so it does nothing without",
            mend="give the folder to the user that runs HQ (chown), or mount it writable",
        )
    elif mode & 0o077:
        yield warning(
            "data.folder",
            f"the data folder {folder} has mode {mode:04o}",
            why="other users of this machine can look into it",
            mend=f"chmod 700 {folder}",
        )
    else:
        yield ok("data.folder", f"the data folder {folder} is writable and closed to others")
    yield _room(folder)


def _room(folder: Path) -> Finding:
    free_bytes = shutil.disk_usage(folder).free
    what = f"{free_bytes // _MB:,} MB are free on the disk of the data folder"
    if free_bytes >= _TIGHT_BYTES:
        return ok("data.disk", what)
    why, mend = "a full disk stops every order", "make room, or move data_dir to a larger disk"
    if free_bytes >= _FULL_BYTES:
        return warning("data.disk", what, why=why, mend=mend)
    return failed("data.disk", what, why=why, mend=mend)


async def check_database(where: Config) -> AsyncIterator[Finding]:
    """Opens (also while HQ runs), has a schema that this release knows, and no box with a name server's name."""
    if not where.database_url and not os.access(where.database, os.F_OK):
        yield unknown("data.database", f"there is no database at {where.database} yet", mend="otscert serve makes it")
        return
    try:
        what = describe(where)
        store = open_store(where)
        try:
            taken = await store.read(lambda transaction: _boxes_with(transaction, _fixed_labels(where)))
        finally:
            await store.close()
    except StoreError as error:
        yield failed(
            "data.database",
            str(error),
            why="without its database HQ does not start",
            mend="see the sentence above; docs/postgresql.md says how the role and the database are made"
            if where.database_url
            else "see the sentence above; a copy of the data folder made while HQ was stopped is a backup",
        )
        return
    yield ok("data.database", f"{what} opens and has schema {SCHEMA_VERSION}")
    for label in taken:
        yield failed(
            "zone.server_addresses",
            f"a box has the label {label}, and {label}.{where.zone.origin} is a name server's name",
            why="the name server keeps the name: the box is left out of the zone and gets no certificate",
            mend="give the name server another name (zone.server_addresses), or retire the box: otscert device retire",
        )


def _fixed_labels(config: Config) -> list[str]:
    """The names right below the zone's that settings give to name servers, or to what has one below it."""
    origin = f".{config.zone.origin}"
    hosts = [host.lower() for host in config.zone.server_addresses if host.lower().endswith(origin)]
    return sorted({host.removesuffix(origin).rpartition(".")[2] for host in hosts})


def _boxes_with(transaction: Transaction, labels: list[str]) -> list[str]:
    # Asked even without labels: that the database can be read is shown by reading.
    transaction.devices.page(after_id="", limit=1)
    boxes = [(label, transaction.devices.find(label)) for label in labels]
    return [
        label for label, box in boxes if box is not None and box.label == label and box.state is not DeviceState.RETIRED
    ]
