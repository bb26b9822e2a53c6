"""Databases of older releases become this release's, with their rows; newer ones and half ones are refused."""

from __future__ import annotations

import asyncio
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest

from otscert.domain.budget import Rank
from otscert.store import migrating, schema
from otscert.store.backup import back_up
from otscert.store.dialect import definition
from otscert.store.errors import NewerSchema, StoreError, StoreUnavailable
from otscert.store.migrating import found_version, upgrade
from otscert.store.opening import Store, open_store
from otscert.store.postgresql_connection import connect
from otscert.store.postgresql_schema import IN_USE
from otscert.store.schema import SCHEMA_VERSION, OlderSchema
from otscert.store.transaction import Transaction
from tests.harness.postgresql import PostgresServer

CHAIN = "".join(f"-----BEGIN CERTIFICATE-----\n{word}\n-----END CERTIFICATE-----\n" for word in ("leaf", "inter"))
ROWS: dict[str, list[dict[str, Any]]] = {
    "device": [
        {"id": f"d{number}", "thumbprint": f"t{number}", "label": f"l{number}", "state": "active", "in_dns": 1}
        for number in (1, 2)
    ],
    "cert_order": [
        {"id": "o1", "device_id": "d1", "txid": "x1", "state": "issued", "csr_der": b"\x00\xff", "replaces": "a.b"},
        {"id": "o2", "device_id": "d1", "txid": "x2", "state": "waiting"},
        {"id": "o3", "device_id": "d2", "txid": "x3", "state": "waiting"},
    ],
    "certificate": [
        {"sha256": "c1", "device_id": "d1", "order_id": "o1", "chain_pem": CHAIN, "not_after_s": 9, "serial": "0a"}
    ],
    "revocation": [{"certificate_sha256": "c1", "reason": 4}],
    "newest_certificate": [{"device_id": "d1", "due_s": 5}],
    "acme_account": [{"issuer": "ca", "url": "https://ca/1", "key_sealed": b"key"}],
    "verified_key": [{"spki_sha256": b"s", "x_coordinate": b"x", "device_id": "d1"}],
    "event": [{"id": 7, "kind": "box.seen", "data": "{}"}],
}


class Where:
    """A database of some version."""

    def __init__(self, *, database: Path = Path("none"), database_url: str = "") -> None:
        self.database, self.database_url = database, database_url

    def columns(self, table: str) -> list[tuple[str, bool, object]]:
        """Name, whether it must have a value, and a value that will do."""
        if self.database_url:
            found = self.run(
                "SELECT column_name, is_nullable = 'NO', data_type FROM information_schema.columns"
                " WHERE table_schema = 'public' AND table_name = ? ORDER BY ordinal_position",
                (table,),
            )
        else:
            found = self.run(f"SELECT name, \"notnull\" OR pk, type FROM pragma_table_info('{table}') ORDER BY cid")  # noqa: S608
        empty: dict[str, object] = {"BLOB": b"", "bytea": b"", "TEXT": "", "text": ""}
        return [(name, bool(needed), empty.get(kind, 0)) for name, needed, kind in found]

    def run(self, sql: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        if self.database_url:
            with psycopg.connect(self.database_url, autocommit=True) as session:
                cursor = session.execute(sql.replace("?", "%s").encode(), values or None)
                return cursor.fetchall() if cursor.description else []
        with closing(sqlite3.connect(self.database)) as connection, connection:
            return connection.execute(sql, values).fetchall()

    def shape(self) -> dict[str, Any]:
        """All that the database says about its tables and indexes."""
        if not self.database_url:
            rows = self.run("SELECT type || ' ' || name, sql FROM sqlite_schema WHERE sql IS NOT NULL")
            return {
                name: re.sub(r"\s*([(),])\s*", r"\1", " ".join(re.sub(r"--[^\n]*", "", sql).split()))
                for name, sql in rows
            }
        columns = self.run(
            "SELECT table_name || '.' || column_name, (ordinal_position, data_type, is_nullable, collation_name,"
            " column_default, is_identity)::text FROM information_schema.columns WHERE table_schema = 'public'"
        )
        indexes = self.run("SELECT 'index ' || indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'")
        constraints = self.run(
            "SELECT conrelid::regclass || ' ' || conname, pg_get_constraintdef(oid) FROM pg_constraint"
            " WHERE connamespace = 'public'::regnamespace"
        )
        return dict([*columns, *indexes, *constraints])


def fill(where: Where) -> None:
    for table, rows in ROWS.items():
        for row in rows:
            values = {name: value for name, needed, value in where.columns(table) if needed} | row
            marks = ", ".join("?" * len(values))
            where.run(f"INSERT INTO {table} ({', '.join(values)}) VALUES ({marks})", tuple(values.values()))  # noqa: S608


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Where]:
    """Where there is no table yet."""
    if request.param == "sqlite":
        yield Where(database=tmp_path / "hq.db")
        return
    postgres: PostgresServer = request.getfixturevalue("postgres")
    url = postgres.create_database(template="template0")
    yield Where(database_url=url)
    postgres.drop_database(url)


@pytest.fixture
def version_3(place: Where) -> Where:
    """A database as the first release left it, with rows."""
    if place.database_url:
        with connect(place.database_url, purpose="test") as session:
            session.autocommit = False
            versions = definition(migrating._VERSIONS)
            migrating._migrate(
                "postgresql+psycopg://", session, before=lambda run: run(versions), after=lambda: None, to=3
            )
    else:
        make_version_3(place.database)
    fill(place)
    return place


def make_version_3(path: Path) -> None:
    script = Path(migrating.__file__).with_name("migrations") / "versions" / "v3.sql"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(f"PRAGMA journal_mode = WAL; {script.read_text()} PRAGMA user_version = 3;")


def read(where: Where, work: Callable[[Transaction], Any]) -> Any:
    async def ask() -> Any:
        store: Store = open_store(where)
        try:
            return await store.read(work)
        finally:
            await store.close()

    return asyncio.run(ask())


def test_an_upgraded_database_has_the_shape_of_a_new_one(
    version_3: Where, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Who changes schema.sql changes the newest step in migrations/versions too."""
    assert upgrade(version_3) is not None
    new = Where(database=tmp_path / "new.db")
    if version_3.database_url:
        new = Where(database_url=request.getfixturevalue("postgres_url"))
    asyncio.run(open_store(new).close())
    assert version_3.shape() == new.shape()
    assert len(new.shape()) > 80
    assert version_3.run("SELECT version_num FROM alembic_version") == [(str(SCHEMA_VERSION),)]


def test_an_upgraded_database_has_its_rows(version_3: Where) -> None:
    with pytest.raises(OlderSchema, match="otscert database upgrade"):
        open_store(version_3)
    assert found_version(version_3) == 3
    done = upgrade(version_3)
    assert done is not None
    assert (done.found, done.version, found_version(version_3)) == (3, SCHEMA_VERSION, SCHEMA_VERSION)
    assert upgrade(version_3) is None
    assert read(version_3, lambda t: t.certificates.get("c1")).chain_pem == CHAIN
    orders = read(version_3, lambda t: [t.orders.get(order) for order in ("o1", "o2", "o3")])
    assert (orders[0].csr_der, orders[0].replaces, orders[0].lease_by) == (b"\x00\xff", "a.b", None)
    assert [order.rank for order in orders] == [Rank.ROUTINE, Rank.ROUTINE, Rank.FIRST_BOOT]
    assert read(version_3, lambda t: t.accounts.get("ca")).key_sealed == b"key"
    for table, rows in ROWS.items():
        for row in rows:
            kept = {name: value for name, value in row.items() if name != "chain_pem"}
            found = version_3.run(f"SELECT {', '.join(kept)} FROM {table}")  # noqa: S608
            assert tuple(kept.values()) in [tuple(map(_plain, each)) for each in found]
            assert len(found) == len(rows)
    # What comes next gets the next number.
    asyncio.run(_append(version_3))
    assert version_3.run("SELECT id FROM event ORDER BY id")[-1][0] > 7 or version_3.database_url


def _plain(value: object) -> object:
    return bytes(value) if isinstance(value, memoryview) else value


async def _append(where: Where) -> None:
    store = open_store(where)
    await store.write(lambda transaction: transaction.events.append("x", now_s=1))
    await store.close()


def test_a_newer_database_is_refused_by_everything(place: Where) -> None:
    asyncio.run(open_store(place).close())
    newer = SCHEMA_VERSION + 1
    place.run(f"UPDATE alembic_version SET version_num = '{newer}'")  # noqa: S608
    if not place.database_url:
        place.run(f"PRAGMA user_version = {newer}")
    for refused in (open_store, upgrade):
        with pytest.raises(NewerSchema, match="start the release that wrote it"):
            refused(place)
    assert found_version(place) == newer


def test_what_is_older_than_the_first_release_is_refused(tmp_path: Path) -> None:
    place = Where(database=tmp_path / "hq.db")
    place.run("PRAGMA user_version = 2")
    for refused in (open_store, upgrade):
        with pytest.raises(StoreError, match="made before the first release"):
            refused(place)


def test_tables_of_another_program_are_left_alone(postgres: PostgresServer) -> None:
    place = Where(database_url=postgres.create_database(template="template0"))
    try:
        place.run("CREATE TABLE alembic_version (version_num text)")
        place.run("INSERT INTO alembic_version VALUES ('1975ea83b712')")
        for refused in (open_store, upgrade):
            with pytest.raises(StoreUnavailable, match="another program"):
                refused(place)
    finally:
        postgres.drop_database(place.database_url)


def test_the_backup_is_the_database_of_before_and_private(tmp_path: Path) -> None:
    place = Where(database=tmp_path / "hq.db")
    make_version_3(place.database)
    fill(place)
    done = upgrade(place)
    assert done is not None
    assert done.backup is not None
    assert re.fullmatch(r"hq-schema3-\d{8}T\d{6}Z\.db", done.backup.name)
    assert done.backup.stat().st_mode & 0o777 == 0o600
    old = Where(database=done.backup)
    assert old.run("PRAGMA user_version") == [(3,)]
    assert old.run("SELECT chain_pem FROM certificate") == [(CHAIN,)]
    assert sorted(path.name for path in tmp_path.iterdir() if "partial" in path.name) == []


KILLED = """
import os, signal, sqlite3, sys
from pathlib import Path
from otscert.store import backup, migrating

def watch(statement):
    if statement.startswith(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)

def open_file(path):
    connection = backup.open_file(path)
    connection.set_trace_callback(watch)
    return connection

migrating.open_file = open_file

class Where:
    database, database_url = Path(sys.argv[1]), ""

migrating.upgrade(Where())
print("done")
"""


@pytest.mark.parametrize("statement", ["INSERT INTO issuer_chain", "COMMIT"])
def test_kill_9_in_the_middle_leaves_the_old_database(tmp_path: Path, statement: str) -> None:
    place = Where(database=tmp_path / "hq.db")
    make_version_3(place.database)
    fill(place)
    before = place.shape()
    ended = subprocess.run([sys.executable, "-c", KILLED, str(place.database), statement], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert place.run("PRAGMA user_version") == [(3,)]
    assert place.shape() == before
    assert place.run("PRAGMA integrity_check") == [("ok",)]
    assert upgrade(place) is not None
    assert read(place, lambda t: t.certificates.get("c1")).chain_pem == CHAIN


FULL = """
import resource, signal, sys
from pathlib import Path
from otscert.store.errors import StoreUnavailable
from otscert.store.migrating import upgrade

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))

class Where:
    database, database_url = Path(sys.argv[1]), ""

try:
    upgrade(Where())
except StoreUnavailable as error:
    print(error)
"""


def test_without_room_nothing_is_changed(tmp_path: Path) -> None:
    place = Where(database=tmp_path / "hq.db")
    make_version_3(place.database)
    fill(place)
    before = place.shape()
    command = [sys.executable, "-c", FULL, str(place.database), "100000"]
    ended = subprocess.run(command, check=True, capture_output=True, text=True)
    assert "it is as it was" in ended.stdout
    assert place.shape() == before
    assert place.run("PRAGMA user_version") == [(3,)]
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".partial")] == []


def test_a_full_disk_is_seen_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Where(database=tmp_path / "hq.db")
    make_version_3(place.database)
    size = place.database.stat().st_size
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=size))
    with pytest.raises(StoreUnavailable, match=r"there is no room for the backup .* nothing was changed"):
        upgrade(place)
    with pytest.raises(StoreUnavailable, match="there is no room"):
        back_up(place.database, to=tmp_path / "copy.db")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hq.db"]


def test_a_backup_overwrites_nothing(tmp_path: Path) -> None:
    place = Where(database=tmp_path / "hq.db")
    asyncio.run(open_store(place).close())
    (tmp_path / "copy.db").write_text("mine")
    with pytest.raises(StoreError, match="is there already"):
        back_up(place.database, to=tmp_path / "copy.db")
    assert (tmp_path / "copy.db").read_text() == "mine"
    with pytest.raises(StoreUnavailable):
        back_up(place.database, to=tmp_path / "nowhere" / "copy.db")


def test_postgresql_is_upgraded_only_while_nobody_uses_it(postgres: PostgresServer) -> None:
    place = Where(database_url=postgres.create_database())
    try:
        store = open_store(place)
        place.run("UPDATE alembic_version SET version_num = '3'")  # as if there were a step to do
        with pytest.raises(StoreUnavailable, match="other HQ processes run on this database: stop them first"):
            upgrade(place)
        asyncio.run(store.close())
        with pytest.raises(StoreUnavailable, match="it is as it was"):
            upgrade(place)  # this time it is tried, and what is there already is in its way
        assert found_version(place) == 3
        with connect(place.database_url, purpose="test") as session:
            session.execute(f"SELECT pg_advisory_lock({IN_USE})")
            with pytest.raises(StoreUnavailable, match="being upgraded by another process"):
                open_store(place)
    finally:
        postgres.drop_database(place.database_url)


def test_starting_without_a_migration_loads_no_alembic(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path\n"
        "from otscert.store.migrating import upgrade\nfrom otscert.store.opening import open_store\n"
        "class Where: database, database_url = Path(sys.argv[1]), ''\n"
        "upgrade(Where()); open_store(Where()); upgrade(Where())\n"
        "print([name for name in ('alembic', 'sqlalchemy', 'psycopg') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "hq.db")], check=True, capture_output=True, text=True
    )
    assert done.stdout == "[]\n"
    assert schema.OLDEST_VERSION == 3
