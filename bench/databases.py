"""The two databases as a run needs them: fresh, real, waiting for the disk as a maker's do; and how large they are.

Knows how each is started and filled quickly. Does not know what is in them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from bench.million import Database
from otscert.store.postgresql import PostgresStore
from otscert.store.sqlite import SqliteStore
from tests.harness.postgresql import DURABLE, run_postgres

# Only for filling: a million boxes do not come within minutes.
_QUICKLY = ("synchronous = OFF", "foreign_keys = OFF", "cache_size = -2000000", "wal_autocheckpoint = 100000")
_AS_EVER = ("synchronous = FULL", "foreign_keys = ON", "cache_size = -2000", "wal_autocheckpoint = 1000")


class Sqlite:
    def __init__(self, path: Path) -> None:
        self._path = path
        self.url = ""
        self.store = SqliteStore.open(path)
        self._connection = self.store._writer  # noqa: SLF001 - beside the store, before anything is asked of it
        self._set(_QUICKLY)

    def enter(self, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        marks = ", ".join("?" * len(columns))
        names = ", ".join(columns)
        self._connection.execute("BEGIN")
        self._connection.executemany(f"INSERT INTO {table} ({names}) VALUES ({marks})", rows)  # noqa: S608 - constants
        self._connection.execute("COMMIT")

    def settle(self) -> None:
        self._set(_AS_EVER)
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def size(self) -> int:
        return self._path.stat().st_size

    def by_table(self) -> list[tuple[str, int]]:
        return self._connection.execute(
            "SELECT s.tbl_name, sum(d.pgsize) FROM dbstat d JOIN sqlite_schema s ON s.name = d.name"
            " GROUP BY 1 ORDER BY 2 DESC"
        ).fetchall()

    def _set(self, pragmas: Sequence[str]) -> None:
        for pragma in pragmas:
            self._connection.execute(f"PRAGMA {pragma}")


class Postgresql:
    def __init__(self, url: str, connection: psycopg.Connection[Any]) -> None:
        self.url = url
        self.store = PostgresStore.open(url)
        self._connection = connection
        connection.execute("SET session_replication_role = replica")  # foreign keys are not looked at while it fills

    def enter(self, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        names = sql.SQL(", ").join(map(sql.Identifier, columns))
        copying = sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(table), names)
        with self._connection.cursor() as cursor, cursor.copy(copying) as copy:
            for row in rows:
                copy.write_row(row)

    def settle(self) -> None:
        self._connection.execute("VACUUM ANALYZE")  # what autovacuum does within a minute
        self._connection.execute("CHECKPOINT")

    def size(self) -> int:
        row = self._connection.execute("SELECT pg_database_size(current_database())").fetchone()
        return 0 if row is None else int(row[0])

    def by_table(self) -> list[tuple[str, int]]:
        return self._connection.execute(
            "SELECT relname, pg_total_relation_size(oid) FROM pg_class"
            " WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace ORDER BY 2 DESC"
        ).fetchall()


@contextmanager
def sqlite(folder: Path) -> Iterator[Database]:
    yield Sqlite(folder / "million.db")


@contextmanager
def postgresql(_folder: Path) -> Iterator[Database]:
    with run_postgres(DURABLE) as server:
        url = server.create_database()
        with closing(psycopg.connect(url, autocommit=True)) as connection:
            yield Postgresql(url, connection)


DATABASES: Mapping[str, Callable[[Path], AbstractContextManager[Database]]] = {
    "SQLite": sqlite,
    "PostgreSQL": postgresql,
}
