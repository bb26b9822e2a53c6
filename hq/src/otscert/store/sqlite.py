"""SQLite as HQ's store: WAL, `synchronous=FULL`, one writer that groups waiting transactions into one commit.

Statements run on the event loop's thread (microseconds each, no hand-over of the interpreter lock); only the commit,
which waits for the disk, runs in a thread. A transaction is a plain function of `Transaction`; when it raises, it alone
is undone (savepoint), the others of its group are kept. `write` returns after the commit: what it returned is on disk.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from otscert.store.errors import StoreUnavailable
from otscert.store.schema import SCHEMA_VERSION, check_version, new_database
from otscert.store.survey import survey
from otscert.store.transaction import Transaction

T = TypeVar("T")
_GROUP = 64  # transactions per commit: about 10 ms of statements at the most before the loop is free again
_BUSY_S = 5.0


class SqliteStore:
    """Open with `SqliteStore.open(path)`; one instance per process; use from one event loop."""

    def __init__(
        self, path: Path, writer: sqlite3.Connection, reader: sqlite3.Connection, *, followed: bool = False
    ) -> None:
        self._path = path
        self._followed = followed
        self._writer = writer
        self._reader = reader
        self._waiting: list[tuple[Callable[[Transaction], Any], asyncio.Future[Any]]] = []
        self._committer: asyncio.Task[None] | None = None

    @classmethod
    def open(cls, path: Path, *, followed: bool = False) -> SqliteStore:
        """Open or create the database; raise `NewerSchema` or `StoreUnavailable`.

        `followed`: what changes in the zone is noted for servers elsewhere that hold it (`store.zone_changes`).
        """
        try:
            _make_private(path)
            writer = _connect(path)
            _make_tables(writer)
            reader = _connect(path)
            reader.execute("PRAGMA query_only = ON")
        except (sqlite3.Error, OSError) as error:
            raise StoreUnavailable(f"the database {path} cannot be opened: {error}") from error
        return cls(path, writer, reader, followed=followed)

    async def write(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` in a transaction and return its result once it is on disk; its exception undoes it alone."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append((work, future))
        if self._committer is None:
            self._committer = asyncio.create_task(self._commit_groups())
        return await future

    async def read(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` on what is committed. For questions that an index answers; it runs on the loop."""
        try:
            return work(Transaction(self._reader))
        except sqlite3.Error as error:
            raise StoreUnavailable(f"the database cannot be read: {error}") from error

    async def survey(self, work: Callable[[Transaction], T]) -> T:
        """Run `work`, which may take seconds, on what is committed now; in a thread, and holds up nobody."""
        return await survey(self._path, work)

    async def close(self) -> None:
        while self._committer is not None:
            await asyncio.wait([self._committer])
        self._reader.close()
        self._writer.close()

    async def _commit_groups(self) -> None:
        try:
            while self._waiting:
                group, self._waiting = self._waiting[:_GROUP], self._waiting[_GROUP:]
                await self._commit(group)
        finally:
            self._committer = None

    async def _commit(self, group: list[tuple[Callable[[Transaction], Any], asyncio.Future[Any]]]) -> None:
        try:
            await self._begin()
            outcomes = [self._run(work) for work, _ in group]
            await asyncio.to_thread(self._writer.execute, "COMMIT")
        except sqlite3.Error as error:
            outcomes = [StoreUnavailable(f"the database cannot be written: {error}")] * len(group)
            self._roll_back()
        except BaseException:
            # A panic below Python, or the end of the process: nobody may wait for an answer that does not come.
            self._roll_back()
            for _, future in group:
                future.cancel()
            raise
        for (_, future), outcome in zip(group, outcomes, strict=True):
            if future.cancelled():
                continue
            if isinstance(outcome, Exception):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)

    async def _begin(self) -> None:
        try:
            self._writer.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            # Another process (a command line) is writing: wait for it where waiting does not stop the loop.
            await asyncio.to_thread(_begin_patiently, self._writer)

    def _run(self, work: Callable[[Transaction], Any]) -> Any:
        self._writer.execute("SAVEPOINT work")
        try:
            result = work(Transaction(self._writer, shared=self._followed))
        except sqlite3.Error as error:
            # The disk (full, locked, corrupt), not the caller: the whole group is undone.
            if type(error) in {sqlite3.OperationalError, sqlite3.DatabaseError}:
                raise
            self._undo_work()
            return error
        except Exception as error:  # noqa: BLE001 - handed to the caller that sent the work
            self._undo_work()
            return error
        self._writer.execute("RELEASE work")
        return result

    def _undo_work(self) -> None:
        self._writer.execute("ROLLBACK TO work")
        self._writer.execute("RELEASE work")

    def _roll_back(self) -> None:
        # A rollback that fails leaves a transaction open; the next group's BEGIN then fails and says so to its callers.
        with suppress(sqlite3.Error):
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")


def _make_private(path: Path) -> None:
    """Create the file 0600 before SQLite does; WAL and SHM files take over its mode."""
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))


def _connect(path: Path) -> sqlite3.Connection:
    # Statements run on the loop, commits in a thread, never both at once; so the same-thread check is off.
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=0, cached_statements=256)
    connection.execute("PRAGMA busy_timeout = 5000")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA busy_timeout = 0")
    return connection


def _begin_patiently(connection: sqlite3.Connection) -> None:
    connection.execute(f"PRAGMA busy_timeout = {int(_BUSY_S * 1000)}")
    try:
        connection.execute("BEGIN IMMEDIATE")
    finally:
        connection.execute("PRAGMA busy_timeout = 0")


def _make_tables(connection: sqlite3.Connection) -> None:
    """Make the tables of a new file; raises as `check_version` for a file of another release."""
    if _version(connection) == SCHEMA_VERSION:
        return
    # One transaction: a kill in the middle leaves an empty database, not half a schema.
    _begin_patiently(connection)
    if _version(connection) == 0:  # else another process was faster
        for statement in new_database():
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    connection.execute("COMMIT")


def _version(connection: sqlite3.Connection) -> int:
    """The schema's version, 0 for a new file; raises as `check_version`."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version:
        check_version(version)
    return int(version)
