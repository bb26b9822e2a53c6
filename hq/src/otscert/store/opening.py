"""Opens the store that the configuration names: SQLite in the data folder, or PostgreSQL by URL.

PostgreSQL's driver is loaded only when it is used, and is an extra of the distribution.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar

from otscert.store.errors import StoreUnavailable
from otscert.store.sqlite import SqliteStore
from otscert.store.transaction import Transaction

T = TypeVar("T")


class Where(Protocol):
    """What the configuration says about the store."""

    @property
    def database(self) -> Path:
        """SQLite's file; used when there is no URL."""

    @property
    def database_url(self) -> str:
        """PostgreSQL's URL, with its password; empty: SQLite."""


class Store(Protocol):
    """What each of the stores is. `survey` may take seconds and holds up nobody."""

    async def write(self, work: Callable[[Transaction], T]) -> T: ...

    async def read(self, work: Callable[[Transaction], T]) -> T: ...

    async def survey(self, work: Callable[[Transaction], T]) -> T: ...

    async def close(self) -> None: ...


def open_store(where: Where, *, followed: bool = False) -> Store:
    """Open the store, and make the tables of a new one; raises `StoreUnavailable`, or as `schema.check_version`.

    `followed`: other servers hold the zone, for whom what changes in it is noted; in PostgreSQL it always is.
    """
    if not where.database_url:
        return SqliteStore.open(where.database, followed=followed)
    need_driver()
    from otscert.store.postgresql import PostgresStore  # noqa: PLC0415 - an extra

    return PostgresStore.open(where.database_url)


def describe(where: Where) -> str:
    """Where the store is, for people; no user, no password. Raises `StoreUnavailable` for a URL that is none."""
    if not where.database_url:
        return f"the database {where.database}"
    need_driver()
    from otscert.store.postgresql_connection import place  # noqa: PLC0415 - an extra

    return place(where.database_url)


def need_driver() -> None:
    """Raise `StoreUnavailable` with what to do when PostgreSQL's driver is not installed."""
    try:
        import psycopg  # noqa: F401, PLC0415 - only to see whether it is there
    except ImportError as error:
        raise StoreUnavailable(
            f"database_url names PostgreSQL, whose driver cannot be loaded ({error}): pip install 'otscert[postgresql]'"
        ) from error
