"""Which schema this release has, and its definition for a new database. Knows no database driver."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources

from otscert.store.dialect import statements
from otscert.store.errors import NewerSchema, StoreError

SCHEMA_VERSION = 5
OLDEST_VERSION = 3
"""What can be migrated: the first release's. Older ones were of no release."""


class OlderSchema(StoreError):
    """The database was made by an older release and has not been upgraded."""

    def __init__(self, found: int) -> None:
        super().__init__(
            f"the database has schema {found}, this release needs {SCHEMA_VERSION}: stop HQ and run `otscert database"
            " upgrade` (`otscert serve` upgrades SQLite by itself when it starts)"
        )
        self.found = found


def new_database() -> Iterator[str]:
    """Yield the statements that make a new database, as SQLite takes them; the version is stamped as Alembic does."""
    script = resources.files(__package__).joinpath("schema.sql").read_text(encoding="utf-8")
    yield from statements(script)
    yield f"INSERT INTO alembic_version (version_num) VALUES ('{SCHEMA_VERSION}')"


def check_version(found: int) -> None:
    """Return when this release can use such a database; raises `NewerSchema`, `OlderSchema`, `StoreError`."""
    if found > SCHEMA_VERSION:
        raise NewerSchema(found, SCHEMA_VERSION)
    if found < OLDEST_VERSION:
        raise StoreError(
            f"the database has schema {found}, made before the first release: keep it for the record and start"
            " with an empty data folder (otscert init)"
        )
    if found < SCHEMA_VERSION:
        raise OlderSchema(found)
