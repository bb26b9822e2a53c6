from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from otscert.store.postgresql import PostgresStore
from otscert.store.sqlite import SqliteStore

Store = SqliteStore | PostgresStore


@pytest.fixture(params=["sqlite", "postgresql"])
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Store]:
    """How a process opens the test's database, which is empty; each test runs once on each kind."""
    if request.param == "sqlite":
        return lambda: SqliteStore.open(tmp_path / "hq.db")
    url: str = request.getfixturevalue("postgres_url")
    return lambda: PostgresStore.open(url)


@pytest.fixture
async def store(open_store: Callable[[], Store]) -> AsyncIterator[Store]:
    store = open_store()
    yield store
    await store.close()
