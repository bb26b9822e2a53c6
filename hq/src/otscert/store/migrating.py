"""Brings the store of an older release to this release's schema: all of it or nothing.

SQLite: a backup first, beside the database. PostgreSQL: only while no HQ process uses the database; its backups are the
administrator's. Alembic and SQLAlchemy are loaded only here, and only when there is something to do.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from otscert.store.backup import copy_file, file_version, open_file
from otscert.store.errors import StoreError, StoreUnavailable
from otscert.store.opening import Where, need_driver
from otscert.store.schema import SCHEMA_VERSION, OlderSchema, check_version

_STAMP = "INSERT INTO alembic_version (version_num) VALUES ('{}')"
_VERSIONS = "CREATE TABLE IF NOT EXISTS alembic_version (version_num TEXT PRIMARY KEY NOT NULL) STRICT"


@dataclass(frozen=True, slots=True, kw_only=True)
class Upgraded:
    """What was done; `backup` is None on PostgreSQL."""

    found: int
    version: int
    backup: Path | None


def found_version(where: Where) -> int | None:
    """The schema's version as it is; None when there is no database yet. Raises `StoreUnavailable`."""
    if where.database_url:
        need_driver()
        from otscert.store import postgresql_connection, postgresql_schema  # noqa: PLC0415 - an extra

        with postgresql_connection.connect(where.database_url, purpose="upgrade") as session:
            return postgresql_schema.version(session)
    if not where.database.exists():
        return None
    try:
        with closing(open_file(where.database)) as connection:
            return file_version(connection) or None
    except sqlite3.Error as error:
        raise StoreUnavailable(f"the database {where.database} cannot be opened: {error}") from error


def upgrade(where: Where) -> Upgraded | None:
    """Upgrade an older database, or return None when there is nothing to do; nobody else may use it meanwhile.

    Raises:
        StoreError: with the reason why nothing was changed.
    """
    if where.database_url:
        return _upgrade_postgresql(where.database_url)
    if not where.database.exists():
        return None
    try:
        with closing(open_file(where.database)) as connection:
            return _upgrade_file(connection, where.database)
    except (sqlite3.Error, OSError) as error:
        raise StoreUnavailable(
            f"the database {where.database} could not be upgraded, it is as it was: {error}"
        ) from error


def _is_older(found: int) -> bool:
    """Whether it can be upgraded; raises as `check_version` for what can be neither used nor upgraded."""
    try:
        check_version(found)
    except OlderSchema:
        return True
    return False


def _upgrade_file(connection: sqlite3.Connection, path: Path) -> Upgraded | None:
    found = file_version(connection)
    if not found or not _is_older(found):
        return None
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    # Killed and started again within a second, it finds the backup of its first try: both stay.
    names = (
        f"{path.stem}-schema{found}-{moment}{more}{path.suffix}" for more in ("", *(f"-{n}" for n in range(2, 100)))
    )
    backup = next(each for each in map(path.with_name, names) if not each.exists())
    copy_file(connection, path, to=backup)
    connection.execute("PRAGMA foreign_keys = OFF")  # tables are made anew; the references are looked at afterwards

    def work(execute: Callable[[str], Any]) -> None:
        execute("BEGIN IMMEDIATE")
        if file_version(connection) != found:
            raise StoreUnavailable("the database is being upgraded by another process: start HQ when that has ended")
        execute(_VERSIONS)
        execute("DELETE FROM alembic_version")
        execute(_STAMP.format(found))

    def end() -> None:
        if connection.execute("PRAGMA foreign_key_check").fetchone() is not None:
            raise StoreError("the upgrade would leave rows that refer to none; nothing was changed: please report this")
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    _migrate("sqlite://", connection, before=work, after=end)
    return Upgraded(found=found, version=SCHEMA_VERSION, backup=backup)


def _upgrade_postgresql(url: str) -> Upgraded | None:
    need_driver()
    import psycopg  # noqa: PLC0415 - an extra

    from otscert.store import postgresql_connection, postgresql_schema  # noqa: PLC0415 - an extra

    with postgresql_connection.connect(url, purpose="upgrade") as session:
        found = postgresql_schema.version(session)
        if found is None or not _is_older(found):
            return None
        if not postgresql_schema.claim_alone(session):
            raise StoreUnavailable("other HQ processes run on this database: stop them first, on every machine")
        postgresql_connection.command(session, "SET idle_in_transaction_session_timeout = 0")
        session.autocommit = False
        try:
            _migrate("postgresql+psycopg://", session, before=lambda _: None, after=lambda: None)
        except psycopg.Error as error:
            raise StoreUnavailable(
                f"the database could not be upgraded, it is as it was: {postgresql_connection.describe(error)}"
            ) from error
        return Upgraded(found=found, version=SCHEMA_VERSION, backup=None)


def _migrate(
    kind: str,
    connection: Any,
    *,
    before: Callable[[Callable[[str], Any]], None],
    after: Callable[[], None],
    to: int = SCHEMA_VERSION,
) -> None:
    """Run the steps up to a version on a driver's connection, in one transaction."""
    from alembic import command  # noqa: PLC0415 - half a second that a start without a migration does not pay
    from alembic.config import Config  # noqa: PLC0415 - as above
    from sqlalchemy import create_engine, exc  # noqa: PLC0415 - as above
    from sqlalchemy.pool import StaticPool  # noqa: PLC0415 - as above

    engine = create_engine(kind, creator=lambda: connection, poolclass=StaticPool, pool_reset_on_return=None)
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    config.set_main_option("path_separator", "os")
    with engine.connect() as bind:
        try:
            before(bind.exec_driver_sql)
            config.attributes["connection"] = bind
            command.upgrade(config, str(to))
            after()
            bind.commit()
        except exc.DBAPIError as error:
            bind.rollback()
            raise (error.orig if error.orig is not None else error) from error
        except BaseException:
            bind.rollback()
            raise
