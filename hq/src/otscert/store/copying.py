"""Copies SQLite's rows into an empty PostgreSQL: all of them, or none. The file stays as it is."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

import psycopg
from psycopg import sql

from otscert.store import postgresql_schema
from otscert.store.backup import file_version, open_file
from otscert.store.errors import StoreError, StoreUnavailable
from otscert.store.postgresql_connection import Session, command, connect, describe
from otscert.store.schema import check_version, new_database

_TABLE = re.compile(r"CREATE TABLE (\w+)")
_TYPES = {"INTEGER": "int8", "TEXT": "text", "BLOB": "bytea"}
_OF_THE_SCHEMA = "alembic_version"


def copy_to_postgresql(path: Path, url: str) -> Mapping[str, int]:
    """Copy every table; returns how many rows of each.

    Raises:
        StoreError: with the reason why nothing was copied.
    """
    try:
        with closing(open_file(path)) as source, connect(url, purpose="copy") as target:
            check_version(file_version(source))
            postgresql_schema.use(target)
            command(target, "SET idle_in_transaction_session_timeout = 0")
            source.execute("BEGIN")  # one moment
            with target.transaction():
                command(target, f"SELECT pg_advisory_xact_lock({postgresql_schema.WRITING})")
                return {table: _copy(source, target, table) for table in _tables()}
    except sqlite3.Error as error:
        raise StoreUnavailable(f"the database {path} cannot be read, nothing was copied: {error}") from error
    except psycopg.Error as error:
        raise StoreUnavailable(f"nothing was copied: {describe(error)}") from error


def _tables() -> Iterator[str]:
    """The tables, each behind those that it refers to."""
    for statement in new_database():
        if (found := _TABLE.match(statement)) and found[1] != _OF_THE_SCHEMA:
            yield found[1]


def _copy(source: sqlite3.Connection, target: Session, table: str) -> int:
    name = sql.Identifier(table)
    if target.execute(sql.SQL("SELECT 1 FROM {} LIMIT 1").format(name)).fetchone() is not None:
        raise StoreError(f"the table {table} of the PostgreSQL database has rows already: nothing was copied")
    columns = source.execute("SELECT name, type FROM pragma_table_info(?) ORDER BY cid", (table,)).fetchall()
    listed = sql.SQL(", ").join(sql.Identifier(column) for column, _ in columns)
    quoted = ", ".join(f'"{column}"' for column, _ in columns)
    count = 0
    with target.cursor().copy(sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(name, listed)) as rows:
        rows.set_types([_TYPES[kind] for _, kind in columns])
        for row in source.execute(f'SELECT {quoted} FROM "{table}"'):
            rows.write_row(row)
            count += 1
    _set_sequence(target, table, [column for column, _ in columns])
    return count


def _set_sequence(target: Session, table: str, columns: list[str]) -> None:
    """Number on from where SQLite was."""
    for column in columns:
        (sequence,) = target.execute("SELECT pg_get_serial_sequence(%s, %s)", (table, column)).fetchone() or (None,)
        if sequence is not None:
            target.execute(
                sql.SQL("SELECT setval(%s, (SELECT coalesce(max({}), 0) + 1 FROM {}), false)").format(
                    sql.Identifier(column), sql.Identifier(table)
                ),
                (sequence,),
            )
