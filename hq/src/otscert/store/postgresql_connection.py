"""One session at a PostgreSQL server, and how its connection answers as `store.connection.Connection` says.

Only this file, `store.postgresql` and `store.postgresql_schema` know psycopg. Starts no transaction of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import psycopg
from psycopg.abc import AdaptContext, Buffer
from psycopg.adapt import AdaptersMap, Loader
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import ExecStatus, Format
from psycopg.types.numeric import Int8BinaryDumper, NumericBinaryLoader
from psycopg.types.string import StrBinaryDumper

from otscert.store.dialect import statement
from otscert.store.errors import StoreUnavailable

Session = psycopg.Connection[tuple[Any, ...]]

IDLE_S = 5
"""How long a transaction may stand still: a process that was stopped in one loses it, and its locks, after that."""
_LOCK_S = 12
"""How long a transaction waits for others: longer than for one that stands still, shorter than a box waits for HQ."""
_SETTINGS = (
    f"SET idle_in_transaction_session_timeout = '{IDLE_S}s'; SET lock_timeout = '{_LOCK_S}s'; SET jit = off;"
    # What was committed survives a power cut; an administrator may demand more (standbys), not less.
    " SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
)
# A server that is gone without a word is noticed after about this long.
_NETWORK = {
    "connect_timeout": "5",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "20000",
    "client_encoding": "UTF8",
}
# The first two characters of SQLSTATE that speak of the server, its disk, or other sessions, not of the statement.
_OF_THE_STORE = ("08", "25", "40", "53", "55", "57", "58", "XX")
_SPOILED = "25P02"
_COMMANDS = ("SAVEPOINT ", "ROLLBACK ", "RELEASE ")


class _WholeNumber(Loader):
    """A sum of BIGINT comes as NUMERIC; the store counts nothing in fractions."""

    format = Format.BINARY

    def __init__(self, oid: int, context: AdaptContext | None = None) -> None:
        super().__init__(oid, context)
        self._decimal = NumericBinaryLoader(oid, context)

    def load(self, data: Buffer) -> int:
        return int(self._decimal.load(data))


def _adapters() -> AdaptersMap:
    """Values as SQLite takes and gives them: one size of number (a statement is prepared once), 0 and 1 for bool."""
    adapters = AdaptersMap(psycopg.adapters)
    adapters.register_dumper(int, Int8BinaryDumper)
    adapters.register_dumper(bool, Int8BinaryDumper)
    adapters.register_dumper(str, StrBinaryDumper)
    adapters.register_loader("numeric", _WholeNumber)
    return adapters


_ADAPTERS = _adapters()


def parameters(url: str) -> dict[str, Any]:
    """Return what a URL says; raises `StoreUnavailable` without the URL's text, which holds a password."""
    try:
        return {name: value for name, value in conninfo_to_dict(url).items() if value is not None}
    except psycopg.Error:
        raise StoreUnavailable(
            "database_url cannot be understood: it has the form postgresql://user:password@host:5432/database, with"
            " special characters of the password as %XX"
        ) from None


def place(url: str) -> str:
    """Where the database is, for people; without user and password."""
    said = parameters(url)
    host = said.get("host", "this machine")
    port = f" port {said['port']}" if "port" in said else ""
    return f"the PostgreSQL database {said.get('dbname', said.get('user', ''))!r} on {host}{port}"


def connect(url: str, *, purpose: str) -> Session:
    """Open a session in autocommit; `purpose` is seen in pg_stat_activity. Raises `StoreUnavailable`."""
    said = parameters(url)
    try:
        session = psycopg.connect(
            make_conninfo("", **(_NETWORK | said)),
            autocommit=True,
            application_name=f"otscert {purpose}",
            context=_Context(),
            prepare_threshold=2,
        )
        session.prepared_max = 500
        command(session, _SETTINGS)
    except psycopg.Error as error:
        raise StoreUnavailable(f"{place(url)} cannot be opened: {describe(error)}") from None
    return session


async def connect_async(url: str, *, purpose: str) -> psycopg.AsyncConnection[tuple[Any, ...]]:
    """Open a session in autocommit for an event loop, for signals; raises `StoreUnavailable`."""
    said = parameters(url)
    try:
        return await psycopg.AsyncConnection.connect(
            make_conninfo("", **(_NETWORK | said)), autocommit=True, application_name=f"otscert {purpose}"
        )
    except psycopg.Error as error:
        raise StoreUnavailable(f"{place(url)} cannot be opened: {describe(error)}") from None


class _Context:
    """What psycopg wants to be told adapters by."""

    adapters = _ADAPTERS
    connection = None


def command(session: Session, text: str) -> str:
    """Run statements that have no values, in one round trip; returns what the server calls the last of them."""
    # Around psycopg's own bookkeeping, which would forget prepared statements at every ROLLBACK TO.
    result = session.pgconn.exec_(text.encode())
    if result.status not in {ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK}:
        error = psycopg.errors.error_from_result(result, encoding="utf-8")
        if error.sqlstate is None:
            session.close()  # libpq's own words: the server is gone, though libpq may not say so of the session yet
        raise error
    return (result.command_status or b"").decode()


def is_lost(session: Session) -> bool:
    return session.closed or session.broken


def speaks_of_the_store(error: psycopg.Error, session: Session) -> bool:
    """Whether the server, its disk or other sessions are the reason, and not the statement."""
    if is_lost(session) or error.sqlstate is None:
        return not isinstance(error, psycopg.ProgrammingError | psycopg.DataError) or is_lost(session)
    return error.sqlstate.startswith(_OF_THE_STORE) and error.sqlstate != _SPOILED


def describe(error: psycopg.Error) -> str:
    """Return the server's words in one line; they name no password."""
    return " ".join((str(error).strip() or type(error).__name__).split())


class PostgresConnection:
    """A session as repositories see it: `?` for values, rows as tuples of str, int, bytes and None."""

    IntegrityError = psycopg.IntegrityError

    def __init__(self, session: Session) -> None:
        self._session = session

    def execute(self, sql: str, values: Sequence[Any] = (), /) -> psycopg.Cursor[tuple[Any, ...]]:
        if sql.startswith(_COMMANDS):
            command(self._session, sql)
            return self._session.cursor()
        return self._session.execute(statement(sql), values, binary=True)

    def executemany(self, sql: str, rows: Iterable[Sequence[Any]], /) -> psycopg.Cursor[tuple[Any, ...]]:
        cursor = self._session.cursor()
        cursor.executemany(statement(sql), rows)
        return cursor
