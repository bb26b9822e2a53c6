"""The database as the commands use it: opened for one question or one change, also while HQ runs.

A command never makes a database: it would belong to whoever typed the command, not to HQ's user.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from otscert.cli.errors import CommandFailed
from otscert.config import Config
from otscert.owner import who_may
from otscert.store import opening
from otscert.store.opening import Store
from otscert.store.transaction import Transaction

T = TypeVar("T")


def exists(config: Config) -> bool:
    """Whether there is a database; of PostgreSQL its URL says so."""
    return bool(config.database_url) or config.database.exists()


def open_store(config: Config) -> Store:
    """Open the database that is there; raises `CommandFailed` when there is none, `StoreError` as `opening`."""
    if config.database_url:
        return opening.open_store(config, followed=config.zone_elsewhere)
    try:
        config.database.stat()
    except FileNotFoundError:
        raise CommandFailed(f"there is no database at {config.database} yet: otscert serve makes it") from None
    except OSError as error:
        raise CommandFailed(
            f"the database {config.database} cannot be opened: {error.strerror}"
            + (who_may(config.database, error) or "; run this as the user that runs HQ")
        ) from error
    return opening.open_store(config, followed=config.zone_elsewhere)


def read(config: Config, work: Callable[[Transaction], T]) -> T:
    """Return what `work` finds in what is committed."""

    async def ask() -> T:
        store = open_store(config)
        try:
            return await store.read(work)
        finally:
            await store.close()

    return asyncio.run(ask())


def write(config: Config, work: Callable[[Transaction], T]) -> T:
    """Run `work` as one transaction and return its result once it is on disk."""

    async def change() -> T:
        store = open_store(config)
        try:
            return await store.write(work)
        finally:
            await store.close()

    return asyncio.run(change())
