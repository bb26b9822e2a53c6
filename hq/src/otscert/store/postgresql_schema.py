"""The schema of a PostgreSQL database, and who may change it: every process that uses it holds a lock that says so."""

from __future__ import annotations

from otscert.store.dialect import definition
from otscert.store.errors import StoreUnavailable
from otscert.store.postgresql_connection import Session, command
from otscert.store.schema import check_version, new_database

# Advisory locks belong to one database; the numbers are the project's own ("otsc", and 1, 2).
WRITING = 0x6F747363_00000001
"""Held by the one transaction that writes."""
IN_USE = 0x6F747363_00000002
"""Shared by every session that writes, as long as it is open; exclusive while the schema is migrated."""


def use(session: Session) -> None:
    """Say that this session uses the database, and make the tables of a new one; raises as `check_version` does."""
    if not _holds(session, f"SELECT pg_try_advisory_lock_shared({IN_USE})"):
        raise StoreUnavailable("the database is being upgraded by another process: start HQ when that has ended")
    found = version(session)
    if found is None:
        _create(session)
    else:
        check_version(found)


def claim_alone(session: Session) -> bool:
    """Say that this session changes the schema; False while others use the database."""
    return _holds(session, f"SELECT pg_try_advisory_lock({IN_USE})")


def version(session: Session) -> int | None:
    """The version of the schema; None: the database has no tables of HQ."""
    (there,) = session.execute("SELECT to_regclass('alembic_version') IS NOT NULL").fetchone() or (False,)
    if not there:
        return None
    row = session.execute("SELECT version_num FROM alembic_version").fetchone()
    if row is None or not str(row[0]).isdecimal():
        raise StoreUnavailable("the database holds tables of another program (alembic_version): give HQ its own")
    return int(row[0])


def _create(session: Session) -> None:
    # Processes that start together: one makes the tables, the others find them.
    command(session, f"BEGIN; SELECT pg_advisory_xact_lock({WRITING})")
    if version(session) is None:
        for statement in new_database():
            command(session, definition(statement))
    command(session, "COMMIT")


def _holds(session: Session, sql: str) -> bool:
    row = session.execute(sql).fetchone()
    return bool(row and row[0])
