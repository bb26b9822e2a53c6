"""A PostgreSQL server of the tests' own: one for each worker of a run, and a fresh database for each test that asks.

The real server, on a Unix socket in a folder of its own. It refuses to be root, so as root it runs as `nobody`. It does
not wait for the disk (fsync): the tests end processes, not machines.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pytest

from otscert.store.postgresql_connection import connect
from otscert.store.postgresql_schema import use
from parts.catalog import STORE, Command
from tests.harness.parts import require_part

NOBODY = 65534
USER = "otscert"
TEMPLATE = "template_hq"
PASSWORD = "p%ss w0rd/of?the@owner"  # noqa: S105 - of a server that ends with the tests
# Whoever reaches the socket is trusted, but for the one role with a password.
ACCESS = "local all owner scram-sha-256\nlocal all all trust\n"
SETTINGS = {
    "listen_addresses": "",
    # It looks at tables when it likes, and the plans that tests look at would change with what it finds.
    "autovacuum": "off",
    "fsync": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "1GB",
    "shared_buffers": "32MB",
    "dynamic_shared_memory_type": "mmap",
    "timezone": "GMT",
    "log_timezone": "GMT",
}
START_S = 60
DURABLE = {
    **SETTINGS,
    "autovacuum": "on",
    "fsync": "on",
    "full_page_writes": "on",
    "shared_buffers": "1GB",
    "max_wal_size": "8GB",
}
"""For benchmarks: it waits for the disk, as a maker's does."""
EMPTY = """
DO $$
DECLARE each record;
BEGIN
    SET LOCAL session_replication_role = replica; -- foreign keys are not looked at
    FOR each IN SELECT oid::regclass AS name, relkind AS kind FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'S') AND relname <> 'alembic_version'
    LOOP
        IF each.kind = 'r' THEN
            EXECUTE format('DELETE FROM %s', each.name);
        ELSE
            PERFORM setval(each.name, 1, false);
        END IF;
    END LOOP;
END $$
"""


class PostgresFailed(Exception):
    """The server did not start; the text is the end of its log."""


@dataclass(slots=True)
class PostgresServer:
    """A server in a folder; start it, stop it, kill it, start it again on the same data."""

    folder: Path
    server: Command
    settings: Mapping[str, str] = field(default_factory=lambda: SETTINGS)
    _process: subprocess.Popen[bytes] | None = None
    _numbers: Iterator[int] = field(default_factory=itertools.count)
    _shared: str = ""

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def url(self, database: str = "postgres", *, user: str = USER, password: str = "") -> str:
        """Return how HQ is told of a database."""
        who = f"{user}:{quote(password, safe='')}" if password else user
        return f"postgresql://{who}@/{database}?host={quote(str(self.folder), safe='')}"

    def start(self) -> None:
        options = [word for name, value in self.settings.items() for word in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self.server.path, "-D", self.folder / "data", "-k", self.folder, *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env=_environment(self.server),
                **_another_user(),
            )
        end = time.monotonic() + START_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > end:
                self.stop(signal.SIGQUIT)
                raise PostgresFailed((self.folder / "log").read_text()[-2000:])
            time.sleep(0.02)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End it: SIGINT ends sessions first (a restart), SIGQUIT is a crash, with a recovery at the start."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait()

    def restart(self, how: signal.Signals = signal.SIGINT) -> None:
        self.stop(how)
        self.start()

    def admin(self, sql: str, *values: Any, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Run a statement as the server's superuser."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(sql.encode(), values or None)
            return cursor.fetchall() if cursor.description else []

    def create_database(self, *, template: str = TEMPLATE) -> str:
        """Make a database with HQ's tables, without rows (`template="template0"`: nothing at all); returns its URL."""
        name = f"test_{next(self._numbers)}"
        self.admin(f"CREATE DATABASE {name} TEMPLATE {template}")
        return self.url(name)

    def emptied(self) -> str:
        """Return the URL of the database that tests share one after the other, with no row and no session of others."""
        # To copy a template takes 100 times as long.
        self._shared = self._shared or self.create_database()
        self.admin(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()",
            database=database_name(self._shared),
        )
        self.admin(EMPTY, database=database_name(self._shared))
        return self._shared

    def drop_database(self, url: str) -> None:
        self.admin(f"DROP DATABASE {database_name(url)} WITH (FORCE)")

    def _answers(self) -> bool:
        try:
            self.admin("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True


def database_name(url: str) -> str:
    return url.partition("?")[0].rpartition("/")[2]


@contextmanager
def run_postgres(settings: Mapping[str, str] = SETTINGS) -> Iterator[PostgresServer]:
    """Run a server with an empty copy of HQ's tables as a template."""
    initdb, server = require_part("initdb"), require_part("postgresql")
    # Not pytest's folder: a socket's path has at most 107 characters, and `nobody` has to get there.
    with tempfile.TemporaryDirectory(prefix="otscert-pg-", dir="/tmp") as name:
        folder = Path(name)
        if os.geteuid() == 0:
            os.chown(folder, NOBODY, NOBODY)
        initdb, server = _within_reach(initdb, folder), _within_reach(server, folder)
        subprocess.run(
            [
                *(initdb.path, "-D", folder / "data", "--username", USER, "--auth", "trust", "--no-sync"),
                *("--locale", "C", "--encoding", "UTF8", "--no-instructions"),
                # As a maker's server may be: texts are not in the order of their bytes unless HQ says so.
                *("--locale-provider", "icu", "--icu-locale", "en-US"),
            ],
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            cwd=folder,
            env=_environment(initdb),
            **_another_user(),
        )
        (folder / "data" / "pg_hba.conf").write_text(ACCESS)
        running = PostgresServer(folder, server, settings)
        running.start()
        try:
            running.admin(f"CREATE DATABASE {TEMPLATE} TEMPLATE template0")
            with connect(running.url(TEMPLATE), purpose="template") as session:
                use(session)
            yield running
        finally:
            running.stop(signal.SIGQUIT)


def _environment(command: Command) -> dict[str, str]:
    return {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "GMT", **command.env}


def _another_user() -> dict[str, Any]:
    return {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}


def _within_reach(command: Command, folder: Path) -> Command:
    """Return the command where `nobody` can start it too: a checkout in a home folder is closed to others."""
    reached = all(parent.stat().st_mode & 0o001 for parent in command.path.parents)
    if os.geteuid() != 0 or reached or STORE not in command.path.parents:
        return command
    part = STORE / command.path.relative_to(STORE).parts[0]
    copy = folder / "part"
    if not copy.exists():
        shutil.copytree(part, copy, symlinks=True)
    moved = {name: value.replace(str(part), str(copy)) for name, value in command.env.items()}
    return Command(path=copy / command.path.relative_to(part), env=moved)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """The server of this run; tests that stop or kill a server take `run_postgres` for one of their own."""
    with run_postgres() as running:
        yield running


@pytest.fixture
def postgres_url(postgres: PostgresServer) -> str:
    """The URL of a database with HQ's tables and without rows; one test after the other has it."""
    return postgres.emptied()
