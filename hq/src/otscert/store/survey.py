"""Looks over the whole store beside the loop: in a thread, on a connection that can only read, at one moment.

A reader holds up no writer of SQLite's WAL, and SQLite gives Python's lock back while it counts.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TypeVar

from otscert.store.errors import StoreUnavailable
from otscert.store.transaction import Transaction

T = TypeVar("T")


async def survey(database: Path, work: Callable[[Transaction], T]) -> T:
    """Run `work`, which may take seconds, on what is committed now; raise `StoreUnavailable`."""
    return await asyncio.to_thread(_survey, database, work)


def _survey(database: Path, work: Callable[[Transaction], T]) -> T:
    try:
        with closing(sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True, timeout=5)) as connection:
            connection.isolation_level = None
            connection.execute("BEGIN")
            return work(Transaction(connection))
    except sqlite3.Error as error:
        raise StoreUnavailable(f"the database cannot be read: {error}") from error
