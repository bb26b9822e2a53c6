"""What only SQLite has: a file, its disk and its locks. The promises of both stores: test_store_promises.py."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hq.tests.store.rows import device

from otscert.store.errors import NewerSchema, StoreUnavailable
from otscert.store.schema import SCHEMA_VERSION
from otscert.store.sqlite import SqliteStore
from otscert.store.transaction import Transaction


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore.open(tmp_path / "hq.db")
    yield store
    await store.close()


def count(store: SqliteStore) -> int:
    return int(store._reader.execute("SELECT count(*) FROM event").fetchone()[0])


async def test_every_commit_waits_for_the_disk(store: SqliteStore) -> None:
    assert store._writer.execute("PRAGMA synchronous").fetchone() == (2,)
    assert store._writer.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert store._writer.execute("PRAGMA foreign_keys").fetchone() == (1,)


async def test_a_full_disk_undoes_the_group_and_is_said(store: SqliteStore) -> None:
    (pages,) = store._writer.execute("PRAGMA page_count").fetchone()
    store._writer.execute(f"PRAGMA max_page_count = {pages}")

    def much(transaction: Transaction) -> None:
        transaction.events.append("x" * 100_000, now_s=1)

    little = store.write(lambda transaction: transaction.events.append("x", now_s=1))
    results = await asyncio.gather(little, store.write(much), return_exceptions=True)
    assert all(isinstance(result, StoreUnavailable) and "full" in str(result) for result in results)
    assert count(store) == 0
    store._writer.execute("PRAGMA max_page_count = 1000000")
    await store.write(much)
    assert count(store) == 1


LIMITED = """
import asyncio, resource, signal, sys
from pathlib import Path
from otscert.store.errors import StoreUnavailable
from otscert.store.sqlite import SqliteStore

async def main():
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    store = SqliteStore.open(Path(sys.argv[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))
    done = 0
    try:
        while True:
            await store.write(lambda transaction: transaction.events.append("x" * 5000, now_s=1))
            done += 1
    except StoreUnavailable as error:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        await store.write(lambda transaction: transaction.events.append("after", now_s=1))
        await store.close()
        print(done, error)

asyncio.run(main())
"""


def test_a_disk_that_is_really_full_loses_nothing_that_was_written(tmp_path: Path) -> None:
    path = tmp_path / "hq.db"
    ended = subprocess.run([sys.executable, "-c", LIMITED, str(path)], check=True, capture_output=True, text=True)
    done, _, error = ended.stdout.partition(" ")
    assert "cannot be written" in error
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT count(*) FROM event").fetchone() == (int(done) + 1,)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


async def test_a_short_lock_by_another_process_is_waited_for_and_reading_goes_on(
    store: SqliteStore, tmp_path: Path
) -> None:
    other = sqlite3.connect(tmp_path / "hq.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    writing = asyncio.create_task(store.write(lambda transaction: transaction.events.append("x", now_s=1)))
    start = time.monotonic()
    await asyncio.sleep(0.3)
    assert time.monotonic() - start < 1  # the loop was not held up
    assert await store.read(lambda transaction: transaction.devices.get("d1")) is None
    assert not writing.done()
    other.execute("COMMIT")
    other.close()
    await writing
    assert count(store) == 1


async def test_a_long_lock_is_said(store: SqliteStore, tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "hq.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match="locked"):
        await store.write(lambda transaction: transaction.events.append("x", now_s=1))
    other.execute("ROLLBACK")
    other.close()
    await store.write(lambda transaction: transaction.events.append("x", now_s=1))
    assert count(store) == 1


async def test_nobody_waits_for_ever_when_the_connection_is_gone(store: SqliteStore) -> None:
    store._writer.close()
    async with asyncio.timeout(5):
        with pytest.raises(StoreUnavailable):
            await store.write(lambda transaction: transaction.events.append("x", now_s=1))
    store._writer = sqlite3.connect(":memory:")


def test_a_newer_schema_is_refused_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "hq.db"
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    connection.close()
    with pytest.raises(NewerSchema, match="start the release that wrote it"):
        SqliteStore.open(path)


def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "hq.db"
    path.write_bytes(b"hello " * 1000)
    with pytest.raises(StoreUnavailable, match="not a database"):
        SqliteStore.open(path)
    with pytest.raises(StoreUnavailable, match="cannot be opened"):
        SqliteStore.open(tmp_path)
    with pytest.raises(StoreUnavailable, match="cannot be opened"):
        SqliteStore.open(tmp_path / "nowhere" / "hq.db")


READ_ONLY = """
import os, sys
from pathlib import Path
from otscert.store.errors import StoreUnavailable
from otscert.store.sqlite import SqliteStore

if os.geteuid() == 0:
    os.seteuid(65534)
try:
    SqliteStore.open(Path(sys.argv[1]))
except StoreUnavailable as error:
    print(error)
"""


def test_a_read_only_folder_is_refused() -> None:
    import tempfile  # noqa: PLC0415 - pytest's folder belongs to one user; this one is for all to read

    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o555)
        command = [sys.executable, "-c", READ_ONLY, f"{folder}/hq.db"]
        ended = subprocess.run(command, check=True, capture_output=True, text=True)
        Path(folder).chmod(0o755)
    assert "cannot be opened" in ended.stdout
    assert "ermission denied" in ended.stdout


async def test_the_database_is_private(store: SqliteStore, tmp_path: Path) -> None:
    await store.write(lambda transaction: transaction.devices.add(device()))
    modes = {name: os.stat(tmp_path / name).st_mode & 0o777 for name in ("hq.db", "hq.db-wal", "hq.db-shm")}  # noqa: PTH116 - looked at, not waited for
    assert set(modes.values()) == {0o600}, modes
