"""What repositories need of a database connection: the part of PEP 249 in which SQLite and PostgreSQL agree.

SQL is written once, for both: `?` for values, no affinity tricks, no rowid. `sqlite3.Connection` fits as it is;
`store.postgresql` makes a psycopg connection fit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol


class Cursor(Protocol):
    @property
    def rowcount(self) -> int: ...

    def fetchone(self) -> Any: ...

    def fetchall(self) -> list[Any]: ...

    def __iter__(self) -> Iterator[Any]: ...


class Connection(Protocol):
    """One transaction's connection. Rows are tuples; blobs are bytes; numbers are int."""

    @property
    def IntegrityError(self) -> type[Exception]:  # noqa: N802 - PEP 249's name
        """Raised for a row that must be unique and is there. On PostgreSQL it spoils the block that it happened in."""

    def execute(self, sql: str, values: Sequence[Any] = ..., /) -> Cursor: ...

    def executemany(self, sql: str, rows: Iterable[Sequence[Any]], /) -> Any: ...
