"""What each store promises: groups, undoing one alone, and that what `write` returned is on disk."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hq.tests.store.conftest import Store

from otscert.domain.key_index import KeyIndex
from otscert.store.errors import AlreadyThere, StoreUnavailable
from otscert.store.postgresql import PostgresStore, Work
from otscert.store.sqlite import SqliteStore
from otscert.store.transaction import Transaction

KEY = KeyIndex(spki_sha256=b"s", x_coordinate=b"x")
TOO_LATE_S = 60


def append(kind: str) -> Callable[[Transaction], None]:
    return lambda transaction: transaction.events.append(kind, now_s=1)


def add_key(transaction: Transaction) -> None:
    transaction.verified_keys.add(KEY, device_id="d", kind="k", contribution="open", source="s", now_s=1)


async def kinds(store: Store) -> list[str]:
    """The events, in their order."""

    def look(transaction: Transaction) -> list[str]:
        return [row[0] for row in transaction._connection.execute("SELECT kind FROM event ORDER BY id")]

    return await store.read(look)


def count_commits(store: Store) -> Callable[[], int]:
    if isinstance(store, SqliteStore):
        statements: list[str] = []
        store._writer.set_trace_callback(statements.append)
        return lambda: statements.count("COMMIT")
    groups: list[int] = []
    write = store._writer.write

    def counted(works: Sequence[Work]) -> list[Any]:
        groups.append(len(works))
        return write(works)

    store._writer.write = counted  # type: ignore[method-assign]
    return lambda: len(groups)


async def test_waiting_transactions_share_commits(store: Store) -> None:
    commits = count_commits(store)
    await asyncio.gather(*(store.write(append("x")) for _ in range(128)))
    assert len(await kinds(store)) == 128
    assert commits() == 2


async def test_a_transaction_that_fails_is_undone_alone(store: Store) -> None:
    def fail(transaction: Transaction) -> None:
        transaction.events.append("half", now_s=1)
        raise ValueError("no")

    def clash(transaction: Transaction) -> None:
        transaction.events.append("half", now_s=1)
        for _ in range(2):
            transaction._connection.execute("INSERT INTO seen_d0 (sha256, forget_at_s) VALUES (?, ?)", (b"0", 1))

    def nonsense(transaction: Transaction) -> None:
        transaction.events.append("half", now_s=1)
        nothing: Any = None  # NOT NULL
        transaction.events.append(nothing, now_s=1)

    works = [append("a"), fail, append("b"), clash, append("c"), nonsense, append("d")]
    results = await asyncio.gather(*map(store.write, works), return_exceptions=True)
    assert [type(result).__name__ for result in results[::2]] == ["NoneType"] * 4
    assert isinstance(results[1], ValueError)
    unique = await store.read(lambda transaction: transaction._connection.IntegrityError)
    assert isinstance(results[3], unique)
    assert isinstance(results[5], unique)
    assert await kinds(store) == ["a", "b", "c", "d"]


async def test_a_block_is_undone_and_the_rest_of_its_transaction_kept(store: Store) -> None:
    def fail_in_block(transaction: Transaction) -> None:
        with transaction.undo_on_error():
            transaction.events.append("undone", now_s=1)
            raise ValueError("no")

    def work(transaction: Transaction) -> None:
        transaction.events.append("before", now_s=1)
        with pytest.raises(ValueError, match="no"):
            fail_in_block(transaction)
        with transaction.undo_on_error():
            transaction.events.append("kept", now_s=1)

    await store.write(work)
    assert await kinds(store) == ["before", "kept"]


async def test_a_row_that_is_there_spoils_its_block_and_nothing_else(store: Store) -> None:
    def in_block(transaction: Transaction) -> None:
        with transaction.undo_on_error():
            transaction.events.append("undone", now_s=1)
            add_key(transaction)

    def work(transaction: Transaction) -> str | None:
        add_key(transaction)
        with pytest.raises(AlreadyThere):
            in_block(transaction)
        transaction.events.append("after", now_s=1)
        return transaction.verified_keys.holder(KEY)

    assert await store.write(work) == "d"
    assert await kinds(store) == ["after"]


async def test_an_already_there_is_an_error_of_its_own_transaction_only(store: Store) -> None:
    def twice(transaction: Transaction) -> None:
        add_key(transaction)
        add_key(transaction)

    results = await asyncio.gather(store.write(twice), store.write(append("x")), return_exceptions=True)
    assert isinstance(results[0], AlreadyThere)
    assert await store.read(lambda transaction: transaction.verified_keys.holder(KEY)) is None
    assert await kinds(store) == ["x"]


async def test_a_caller_that_gives_up_does_not_hold_up_the_others(store: Store) -> None:
    impatient = asyncio.create_task(store.write(append("x")))
    other = asyncio.create_task(store.write(append("x")))
    await asyncio.sleep(0)
    impatient.cancel()
    await other
    assert await kinds(store) == ["x", "x"]


async def test_reading_cannot_write(store: Store) -> None:
    with pytest.raises(StoreUnavailable):
        await store.read(append("x"))
    with pytest.raises(StoreUnavailable):
        await store.survey(append("x"))
    assert await kinds(store) == []


async def test_a_survey_holds_up_nobody_and_sees_one_moment(store: Store) -> None:
    looking, go_on = threading.Event(), threading.Event()

    def survey(transaction: Transaction) -> tuple[int, int]:
        first = transaction.statistics.last_event()
        looking.set()
        assert go_on.wait(TOO_LATE_S)
        return first, transaction.statistics.last_event()

    surveying = asyncio.create_task(store.survey(survey))
    try:
        async with asyncio.timeout(TOO_LATE_S):
            assert await asyncio.to_thread(looking.wait, TOO_LATE_S)
            await store.write(append("x"))
            assert await kinds(store) == ["x"]
            assert not surveying.done()
    finally:
        go_on.set()
    assert await surveying == (0, 0)


async def test_a_store_opens_again_with_what_it_had(open_store: Callable[[], Store]) -> None:
    for count in (1, 2):
        store = open_store()
        await store.write(append("x"))
        assert await kinds(store) == ["x"] * count
        await store.close()


async def test_two_processes_write_one_after_the_other(open_store: Callable[[], Store]) -> None:
    """Each reads a number and writes the next one: a lost update would show."""

    def count_on(transaction: Transaction) -> None:
        row = transaction._connection.execute("SELECT tat_ms FROM quota WHERE bucket = ?", ("b",)).fetchone()
        transaction._connection.execute(
            "INSERT INTO quota (bucket, tat_ms) VALUES (?, ?) ON CONFLICT (bucket) DO UPDATE SET tat_ms = ?",
            ("b", (row[0] if row else 0) + 1, (row[0] if row else 0) + 1),
        )

    stores = [open_store() for _ in range(3)]
    for _ in range(20):
        await asyncio.gather(*(store.write(count_on) for store in stores))
    assert await stores[0].read(
        lambda transaction: transaction._connection.execute("SELECT tat_ms FROM quota").fetchall()
    ) == [(60,)]
    for store in stores:
        await store.close()


CHILD = """
import asyncio, os, signal, sys
from pathlib import Path
from otscert.store.postgresql import PostgresStore, Work
from otscert.store.sqlite import SqliteStore

async def main():
    where = sys.argv[1]
    store = PostgresStore.open(where) if "://" in where else SqliteStore.open(Path(where))
    for number in range(int(sys.argv[2])):
        await store.write(lambda transaction: transaction.events.append(f"written {number}", now_s=1))
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


@pytest.mark.parametrize("number", [1, 50])
async def test_what_write_returned_survives_kill_9(store: Store, tmp_path: Path, number: int) -> None:
    where = store._url if isinstance(store, PostgresStore) else str(tmp_path / "hq.db")
    ended = await asyncio.to_thread(subprocess.run, [sys.executable, "-c", CHILD, where, str(number)], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert await kinds(store) == [f"written {each}" for each in range(number)]
    await store.write(append("another"))
