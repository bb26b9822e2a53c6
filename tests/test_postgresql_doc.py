"""What docs/postgresql.md tells administrators to do, done."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from otscert.store.postgresql import PostgresStore
from parts.catalog import CHECKOUT
from tests.harness.parts import require_part
from tests.harness.postgresql import USER, PostgresServer

PAGE = (CHECKOUT / "docs" / "postgresql.md").read_text(encoding="utf-8")
MAKER = "maker"  # the tests' administrator has the name that the page gives to HQ's role


def blocks(kind: str) -> list[str]:
    return [block.replace("otscert", MAKER) for block in re.findall(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL)]


def run(server: PostgresServer, name: str, *arguments: str) -> None:
    part = require_part(name)
    where = {"PGHOST": str(server.folder), "PGUSER": USER, "PGDATABASE": "postgres"}
    environment = {**os.environ, **part.env, **where}
    done = subprocess.run([part.path, *arguments], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


async def test_the_pages_role_database_dump_and_restore_work(postgres: PostgresServer, tmp_path: Path) -> None:
    (make,) = blocks("sql")
    run(postgres, "psql", "--set=ON_ERROR_STOP=1", "--command", make.split(";")[0])
    try:
        for statement in make.split(";")[1:-1]:
            run(postgres, "psql", "--set=ON_ERROR_STOP=1", "--command", statement)
        store = PostgresStore.open(postgres.url(MAKER, user=MAKER))
        await store.write(lambda transaction: transaction.events.append("before", now_s=1))
        dump, restore = blocks("sh")
        assert dump.startswith("pg_dump --format=custom ")
        run(postgres, "pg_dump", "--format=custom", f"--file={tmp_path / 'dump'}", postgres.url(MAKER, user=MAKER))
        await store.write(lambda transaction: transaction.events.append("after", now_s=1))
        await store.close()
        postgres.drop_database(postgres.url(MAKER))

        assert f"createdb --owner={MAKER} --template=template0 {MAKER}" in restore
        postgres.admin(f"CREATE DATABASE {MAKER} OWNER {MAKER} TEMPLATE template0")
        options = restore.splitlines()[1].split()
        assert options[0] == "pg_restore"
        run(postgres, "pg_restore", *options[1:-1], str(tmp_path / "dump"))
        store = PostgresStore.open(postgres.url(MAKER, user=MAKER))
        kinds = "SELECT kind FROM event"
        assert await store.read(lambda t: t._connection.execute(kinds).fetchall()) == [("before",)]
        await store.write(lambda transaction: transaction.events.append("anew", now_s=1))
        await store.close()
    finally:
        postgres.admin(f"DROP DATABASE IF EXISTS {MAKER} WITH (FORCE)")
        postgres.admin(f"DROP ROLE {MAKER}")
