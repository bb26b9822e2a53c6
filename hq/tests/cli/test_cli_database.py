from __future__ import annotations

import asyncio
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hq.tests.store.rows import certificate, device, fill, order

from otscert.domain.order import OrderState
from otscert.store import migrating
from otscert.store.postgresql import PostgresStore
from otscert.store.schema import SCHEMA_VERSION
from otscert.store.sqlite import SqliteStore
from otscert.store.transaction import Transaction
from tests.harness.postgresql import PostgresServer

Installation = Any  # the class lives in conftest.py, which cannot be imported


def make_version_3(path: Path) -> None:
    """The database as the first release left it."""
    script = Path(migrating.__file__).with_name("migrations") / "versions" / "v3.sql"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(f"{script.read_text()} PRAGMA user_version = 3;")


def store_rows(installed: Installation) -> None:
    async def store() -> None:
        store = SqliteStore.open(installed.database)
        rows = (device(1), order(1, state=OrderState.ISSUED), certificate(1), device(2))
        await store.write(lambda transaction: fill(transaction, *rows))
        for kind in ("first", "second"):
            await store.write(lambda transaction, kind=kind: transaction.events.append(kind, now_s=1))  # type: ignore[misc]
        await store.close()

    asyncio.run(store())


def test_serve_upgrades_the_data_folder_of_an_older_release_and_says_so(installed: Installation) -> None:
    make_version_3(installed.database)
    status = installed.call("database", "status")
    assert status.returncode == 1
    assert "needed by this release" in status.stdout
    refused = installed.call("device", "list")
    assert refused.returncode == 1
    assert "stop HQ and run `otscert database upgrade`" in refused.stderr
    with installed.started("serve", "--json") as hq:
        assert json.loads(hq.stdout.readline())["kind"] == "ready"
        busy = installed.call("database", "upgrade")
        assert (busy.returncode, "another HQ" in busy.stderr) == (1, True), busy.stderr
        assert installed.call("device", "list").returncode == 0
        hq.terminate()
        _, log = hq.communicate()
    assert "store.upgraded" in log
    (backup,) = installed.database.parent.glob("hq-schema3-*.db")
    assert str(backup.name) in log
    assert installed.call("database", "status").returncode == 0


def test_upgrade_does_what_serve_would_and_then_nothing(installed: Installation) -> None:
    make_version_3(installed.database)
    done = json.loads(installed.call("database", "upgrade", "--json").stdout)
    assert (done["upgraded"], done["schema"]) == (True, SCHEMA_VERSION)
    assert Path(installed.folder / done["backup"]).exists()
    again = json.loads(installed.call("database", "upgrade", "--json").stdout)
    assert again == {"upgraded": False, "schema": SCHEMA_VERSION, "backup": None}
    assert installed.call("database", "upgrade").stdout == "There is nothing to upgrade.\n"


def test_a_backup_is_a_database_of_its_own(installed: Installation) -> None:
    assert "otscert serve makes it" in installed.call("database", "backup", "copy.db").stderr
    store_rows(installed)
    done = json.loads(installed.call("database", "backup", "copy.db", "--json").stdout)
    copy = installed.folder / "copy.db"
    assert (done["bytes"], copy.stat().st_mode & 0o777) == (copy.stat().st_size, 0o600)
    with closing(sqlite3.connect(copy)) as connection:
        assert connection.execute("SELECT count(*) FROM device").fetchone() == (2,)
    assert "is there already" in installed.call("database", "backup", "copy.db").stderr


def test_sqlite_is_copied_into_an_empty_postgresql_once(
    installed: Installation, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "there is no database_url" in installed.call("database", "copy").stderr
    store_rows(installed)
    monkeypatch.setenv("OTSCERT_DATABASE_URL", postgres_url)
    done = installed.call("database", "copy", "--json")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["rows"]
    assert (rows["device"], rows["certificate"], rows["event"]) == (2, 1, 2)
    listed = json.loads(installed.call("device", "list", "--json").stdout)["devices"]
    assert [each["id"] for each in listed] == ["d1", "d2"]
    assert asyncio.run(_look(postgres_url)) == certificate(1).chain_pem
    again = installed.call("database", "copy")
    assert again.returncode == 1
    assert "has rows already: nothing was copied" in again.stderr
    assert "back it up with pg_dump" in installed.call("database", "backup", "copy.db").stderr


async def _look(url: str) -> str:
    def work(transaction: Transaction) -> str:
        transaction.events.append("third", now_s=1)
        assert transaction.statistics.last_event() == 3
        return transaction.certificates.last("d1").chain_pem  # type: ignore[union-attr]

    store = PostgresStore.open(url)
    try:
        return await store.write(work)
    finally:
        await store.close()


def test_doctor_and_commands_say_what_is_wrong_with_the_url_and_never_the_password(
    installed: Installation, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = postgres.url("nosuch", password="verysecret")  # noqa: S106 - of nobody
    other = "mysql://u:verysecret@h/d"
    for url, said, commands in (
        (other, "must look like postgresql://", ("device list", "serve")),
        (nowhere, '"nosuch" does not exist', ("database status", "doctor --json", "serve")),
    ):
        monkeypatch.setenv("OTSCERT_DATABASE_URL", url)
        for command in commands:
            done = installed.call(*command.split())
            assert done.returncode == 1
            assert said in (done.stdout + done.stderr).replace('\\"', '"'), command
            assert "verysecret" not in done.stdout + done.stderr
