"""What only PostgreSQL has: a connection that is lost, a server that restarts, other processes that stand still."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psycopg
import pytest
from hq.tests.store.rows import device

from otscert.domain.budget import Rank
from otscert.domain.device import DeviceState
from otscert.store.errors import OutcomeUnknown, StoreError, StoreUnavailable
from otscert.store.opening import describe, open_store
from otscert.store.postgresql import PostgresStore
from otscert.store.postgresql_connection import IDLE_S
from otscert.store.transaction import Transaction
from tests.harness.postgresql import PASSWORD, PostgresServer, database_name

TOO_LATE_S = 90


@pytest.fixture
async def store(postgres_url: str) -> AsyncIterator[PostgresStore]:
    store = PostgresStore.open(postgres_url)
    yield store
    await store.close()


def append(kind: str) -> Callable[[Transaction], None]:
    return lambda transaction: transaction.events.append(kind, now_s=1)


async def kinds(store: PostgresStore) -> list[str]:
    def look(transaction: Transaction) -> list[str]:
        return [row[0] for row in transaction._connection.execute("SELECT kind FROM event ORDER BY id")]

    return await store.read(look)


def end_sessions(postgres: PostgresServer, store: PostgresStore, purpose: str) -> int:
    """Have the server end the store's sessions of a purpose, as an administrator does; returns how many."""
    return len(
        postgres.admin(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s AND application_name = %s",
            database_name(store._url),
            f"otscert {purpose}",
        )
    )


async def test_values_come_back_as_from_sqlite(store: PostgresStore) -> None:
    def look(transaction: Transaction) -> tuple[object, ...]:
        sql = "SELECT ?, ?, ?, ?, ?, ?, 'a?'"
        values = (True, 2**62, "Grüße % ' \\", b"\x00\xff", Rank.ROUTINE, DeviceState.ACTIVE)
        row: tuple[object, ...] = transaction._connection.execute(sql.replace("'a?'", "1"), values).fetchone()
        return row

    row = await store.read(look)
    assert row == (1, 2**62, "Grüße % ' \\", b"\x00\xff", int(Rank.ROUTINE), "active", 1)
    assert [type(value) for value in row] == [int, int, str, bytes, int, str, int]


async def test_a_sum_is_a_whole_number_and_texts_are_in_the_order_of_their_bytes(store: PostgresStore) -> None:
    for kind in ("b", "Z", "ä", "a", "a-b", "ab"):
        await store.write(append(kind))

    def look(transaction: Transaction) -> tuple[list[str], object]:
        execute = transaction._connection.execute
        return (
            [row[0] for row in execute("SELECT kind FROM event ORDER BY kind")],
            execute("SELECT sum(at_s) FROM event WHERE kind NOT IN () AND kind IS NOT ?", (None,)).fetchone()[0],
        )

    texts, total = await store.read(look)
    assert texts == ["Z", "a", "a-b", "ab", "b", "ä"]
    assert (total, type(total)) == (6, int)


async def test_a_session_that_was_ended_between_two_groups_is_made_again(
    postgres: PostgresServer, store: PostgresStore
) -> None:
    await store.write(append("before"))
    assert await kinds(store) == ["before"]
    assert end_sessions(postgres, store, "writer") == 1
    assert end_sessions(postgres, store, "reader") == 1
    assert await kinds(store) == ["before"]
    await store.write(append("after"))
    assert await kinds(store) == ["before", "after"]


async def test_a_session_that_is_ended_in_a_group_undoes_the_group_and_says_so(
    postgres: PostgresServer, store: PostgresStore
) -> None:
    def ended(transaction: Transaction) -> None:
        transaction.events.append("lost", now_s=1)
        end_sessions(postgres, store, "writer")
        transaction.events.append("lost", now_s=1)

    works = (append("lost"), ended, append("lost"))
    results = await asyncio.gather(*map(store.write, works), return_exceptions=True)
    assert [type(result) for result in results] == [StoreUnavailable] * 3
    await store.write(append("after"))
    assert await kinds(store) == ["after"]


async def test_a_commit_whose_answer_does_not_come_is_not_repeated(
    postgres: PostgresServer, store: PostgresStore
) -> None:
    ran: list[int] = []

    def last(transaction: Transaction) -> None:
        ran.append(1)
        transaction.events.append("perhaps", now_s=1)
        # At the end of the transaction, while the server works on COMMIT.
        transaction._connection.execute("INSERT INTO ends_the_session VALUES (1)")

    name = database_name(store._url)
    postgres.admin(
        "CREATE TABLE ends_the_session (x int);"
        "CREATE FUNCTION end_session() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END';"
        "CREATE CONSTRAINT TRIGGER ends AFTER INSERT ON ends_the_session DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION end_session()",
        database=name,
    )
    try:
        with pytest.raises(OutcomeUnknown):
            await store.write(last)
        assert ran == [1]
        await store.write(append("after"))
        assert await kinds(store) == ["after"]
    finally:
        await asyncio.to_thread(postgres.admin, "DROP TABLE ends_the_session", database=name)
        postgres.admin("DROP FUNCTION end_session", database=name)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT])
async def test_a_server_that_was_restarted_is_found_again(
    postgres: PostgresServer, store: PostgresStore, how: signal.Signals
) -> None:
    await store.write(append("before"))
    await asyncio.to_thread(postgres.stop, how)
    try:
        with pytest.raises(StoreUnavailable, match="cannot be opened"):
            await store.write(append("lost"))
        with pytest.raises(StoreUnavailable, match="cannot be opened"):
            await store.read(lambda transaction: transaction.devices.get("d1"))
    finally:
        await asyncio.to_thread(postgres.start)
    await store.write(append("after"))
    assert await kinds(store) == ["before", "after"]


STANDING_STILL = """
import asyncio, signal, sys
from otscert.store.errors import StoreUnavailable
from otscert.store.postgresql import PostgresStore

def stand_still(transaction):
    transaction.events.append("of the one that stood still", now_s=1)
    print("in the transaction", flush=True)
    signal.raise_signal(signal.SIGSTOP)  # this thread's own, so it does not run on

async def main():
    store = PostgresStore.open(sys.argv[1])
    try:
        await store.write(stand_still)
    except StoreUnavailable as error:
        print(error, flush=True)
    await store.write(lambda transaction: transaction.events.append("awake again", now_s=1))
    await store.close()

asyncio.run(main())
"""


async def test_a_process_that_stands_still_in_a_transaction_holds_up_the_others_for_seconds(
    store: PostgresStore,
) -> None:
    other = await asyncio.create_subprocess_exec(
        sys.executable, "-c", STANDING_STILL, store._url, stdout=asyncio.subprocess.PIPE
    )
    assert other.stdout is not None
    try:
        async with asyncio.timeout(TOO_LATE_S):
            assert await other.stdout.readline() == b"in the transaction\n"
            start = time.monotonic()
            assert await kinds(store) == []
            await store.write(append("of the other"))
            assert time.monotonic() - start < IDLE_S + 5
            other.send_signal(signal.SIGCONT)
            assert b"the database cannot be written" in await other.stdout.readline()
            assert await other.wait() == 0
    finally:
        if other.returncode is None:
            other.kill()
            await other.wait()
    assert await kinds(store) == ["of the other", "awake again"]


async def test_a_lock_that_is_held_for_long_is_said_and_the_session_is_kept(
    postgres_url: str, store: PostgresStore
) -> None:
    other = PostgresStore.open(postgres_url)
    assert store._writer._session is not None
    session = store._writer._session
    session.execute("SET lock_timeout = '200ms'")
    held, go_on = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def hold(transaction: Transaction) -> None:
        transaction.events.append("held", now_s=1)
        loop.call_soon_threadsafe(held.set)
        asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result(TOO_LATE_S)

    holding = asyncio.create_task(other.write(hold))
    await held.wait()
    with pytest.raises(StoreUnavailable, match="other HQ processes"):
        await store.write(append("x"))
    go_on.set()
    await holding
    await store.write(append("after"))
    assert store._writer._session is session
    assert await kinds(store) == ["held", "after"]
    await other.close()


async def test_a_work_that_goes_on_after_a_failed_statement_is_told(store: PostgresStore) -> None:
    def careless(transaction: Transaction) -> None:
        transaction.devices.add(device())
        with pytest.raises(psycopg.IntegrityError):
            transaction.devices.add(device())

    results = await asyncio.gather(store.write(careless), store.write(append("x")), return_exceptions=True)
    assert isinstance(results[0], StoreError)
    assert "undo_on_error" in str(results[0])
    assert await store.read(lambda transaction: transaction.devices.get("d1")) is None
    assert await kinds(store) == ["x"]


async def test_statements_are_prepared(store: PostgresStore) -> None:
    for _ in range(4):
        await store.write(append("x"))

    def look(transaction: Transaction) -> list[str]:
        rows = transaction._connection.execute("SELECT statement FROM pg_prepared_statements")
        return [row[0] for row in rows if "INSERT INTO event" in row[0]]

    assert len(await store.write(look)) == 1


class Named:
    """What a configuration says of the store."""

    database = Path("hq.db")

    def __init__(self, database_url: str) -> None:
        self.database_url = database_url


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (f"postgresql://owner:{PASSWORD}@localhost/hq", "has the form"),
        ("postgresql://owner:verysecret@127.0.0.1:1/hq", "'hq' on 127.0.0.1 port 1"),
        ("postgresql://owner:verysecret@/hq?host=/nowhere", "'hq' on /nowhere"),
        ("postgresql://owner:verysecret%zz@127.0.0.1:1/hq", "has the form"),
        ("postgresql://owner:verysecret@127.0.0.1:1/hq?nosuch=1", "has the form"),
    ],
)
async def test_an_error_names_the_database_and_never_the_password(url: str, said: str) -> None:
    with pytest.raises(StoreUnavailable) as raised:
        open_store(Named(url))
    shown = f"{raised.value} {raised.value.__cause__}"
    assert said in shown
    assert "verysecret" not in shown
    assert PASSWORD not in shown


async def test_a_password_opens_the_database_and_is_not_seen_in_the_list_of_processes(postgres: PostgresServer) -> None:
    from urllib.parse import quote  # noqa: PLC0415 - for this test alone

    postgres.admin(f"CREATE ROLE owner LOGIN PASSWORD '{PASSWORD}'")
    postgres.admin("CREATE DATABASE hq_of_owner OWNER owner TEMPLATE template0")
    try:
        url = postgres.url("hq_of_owner", user="owner", password=PASSWORD)
        assert "hq_of_owner" in describe(Named(url))
        assert PASSWORD not in describe(Named(url))
        store = open_store(Named(url))
        await store.write(append("x"))
        listed = Path(f"/proc/{os.getpid()}/cmdline").read_bytes()  # noqa: ASYNC240 - memory
        assert quote(PASSWORD, safe="").encode() not in listed
        await store.close()
        with pytest.raises(StoreUnavailable, match="password authentication failed") as raised:
            open_store(Named(postgres.url("hq_of_owner", user="owner", password="wrong-one")))  # noqa: S106
        assert "wrong-one" not in str(raised.value)
    finally:
        postgres.admin("DROP DATABASE hq_of_owner WITH (FORCE)")
        postgres.admin("DROP ROLE owner")


WITHOUT_DRIVER = """
import sys
sys.modules["psycopg"] = None
from pathlib import Path
from otscert.store.opening import open_store
class Where:
    database, database_url = Path("hq.db"), "postgresql://owner:verysecret@127.0.0.1:1/hq"
try:
    open_store(Where())
except Exception as error:
    print(error)
"""


def test_without_the_extra_it_is_said_how_to_get_it() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT_DRIVER], check=True, capture_output=True, text=True)
    assert "pip install 'otscert[postgresql]'" in done.stdout
    assert "verysecret" not in done.stdout
