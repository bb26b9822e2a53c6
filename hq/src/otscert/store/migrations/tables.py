"""What steps need to change tables on both databases: a changed table is set aside, made anew, and filled.

Neither database can put a column between others, and SQLite cannot add one that must have a value.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from typing import Any

from sqlalchemy import Connection

from otscert.store.dialect import definition, statement, statements


class Tables:
    """The tables of a database, in the transaction of a migration."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._postgresql = connection.dialect.name == "postgresql"

    def run(self, name: str) -> None:
        """Run a script of `versions/`, written as SQLite takes it."""
        script = resources.files(__package__).joinpath("versions", name).read_text(encoding="utf-8")
        for each in statements(script):
            self._connection.exec_driver_sql(definition(each) if self._postgresql else each)

    def execute(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run a statement with `?` for values; returns its rows."""
        said = statement(sql) if self._postgresql and values else sql
        result = self._connection.exec_driver_sql(said, tuple(values))
        return [tuple(row) for row in result] if result.returns_rows else []

    def set_aside(self, *names: str) -> None:
        """Move tables out of the way with all that hangs on them; `old` says where they are."""
        if self._postgresql:
            self.execute("CREATE SCHEMA otscert_old")
            for name in names:
                self.execute(f"ALTER TABLE {name} SET SCHEMA otscert_old")
            return
        # Else SQLite would have the references of other tables follow the old table.
        self.execute("PRAGMA legacy_alter_table = ON")
        for name in names:
            sql = "SELECT name FROM sqlite_schema WHERE type = 'index' AND tbl_name = ? AND sql IS NOT NULL"
            for (index,) in self.execute(sql, (name,)):
                self.execute(f"DROP INDEX {index}")
            self.execute(f"ALTER TABLE {name} RENAME TO old_{name}")
        self.execute("PRAGMA legacy_alter_table = OFF")

    def old(self, name: str) -> str:
        return f"otscert_old.{name}" if self._postgresql else f"old_{name}"

    def drop_old(self, *names: str) -> None:
        if self._postgresql:
            self.execute("DROP SCHEMA otscert_old CASCADE")
            return
        for name in names:
            self.execute(f"DROP TABLE old_{name}")
