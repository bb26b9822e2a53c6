"""Backups of SQLite's database: as it is at one moment, also while HQ runs; on disk, and for its owner alone."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from otscert.store.errors import StoreError, StoreUnavailable

_MB = 1_000_000
_BUSY_MS = 5000


def back_up(database: Path, *, to: Path) -> None:
    """Copy the database.

    Raises:
        StoreError: when there is no room, the file is there already, or it cannot be written.
    """
    try:
        with closing(open_file(database)) as connection:
            copy_file(connection, database, to=to)
    except (sqlite3.Error, OSError) as error:
        raise StoreUnavailable(f"the backup {to} could not be made: {error}") from error


def open_file(path: Path) -> sqlite3.Connection:
    """Open a database that is there."""
    connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=rw", uri=True, isolation_level=None)
    connection.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def file_version(connection: sqlite3.Connection) -> int:
    """Return the version of its schema; 0: it has none."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def copy_file(connection: sqlite3.Connection, path: Path, *, to: Path) -> None:
    """As `back_up`, of a database that is open; may raise `sqlite3.Error` and `OSError` too."""
    size = sum(each.stat().st_size for each in (path, path.with_name(f"{path.name}-wal")) if each.exists())
    free = shutil.disk_usage(to.parent).free
    # The copy, and as much again for tables that are made anew in the database itself.
    if free < 2 * size:
        raise StoreUnavailable(
            f"there is no room for the backup {to}: {2 * size // _MB + 1:,} MB are needed, {free // _MB:,} MB are free;"
            " nothing was changed"
        )
    partial = to.with_name(f"{to.name}.partial")
    partial.unlink(missing_ok=True)
    if to.exists():
        raise StoreError(f"{to} is there already; nothing was changed")
    os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    try:
        with closing(sqlite3.connect(partial, isolation_level=None)) as copy:
            connection.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")  # one file, without WAL beside it
            _check(copy, path)
        _sync(partial)
        partial.rename(to)
        _sync(to.parent)
    except BaseException:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


def _check(copy: sqlite3.Connection, path: Path) -> None:
    if copy.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
        raise StoreError(f"the database {path} is damaged: its copy does not pass SQLite's own check")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
