from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from otscert.store.sqlite import SqliteStore


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore.open(tmp_path / "hq.db")
    yield store
    await store.close()
