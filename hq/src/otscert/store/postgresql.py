"""PostgreSQL as HQ's store: several HQ processes on one database, and the same promises as SQLite's.

One session writes. As in `store.sqlite`, waiting transactions are grouped into one commit, each in a savepoint of its
own. A group begins by taking one advisory lock, so the groups of all processes follow one after the other: what a
transaction read is still so when it commits, and no rule of the service needs a lock of its own (docs/decisions/0024).
Statements run in threads, because each is a round trip. A function that is handed in may be run twice when the
connection is lost before its commit, and touches nothing but its transaction.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

import psycopg
from psycopg.pq import TransactionStatus

from otscert.store import postgresql_schema as schema
from otscert.store.errors import OutcomeUnknown, StoreError, StoreUnavailable
from otscert.store.postgresql_connection import (
    PostgresConnection,
    Session,
    command,
    connect,
    describe,
    is_lost,
    speaks_of_the_store,
)
from otscert.store.transaction import Transaction

T = TypeVar("T")
Work = Callable[[Transaction], Any]
_GROUP = 64
_READERS = 4
# At READ COMMITTED every statement sees what was committed when it began, so the first one after the lock sees it all.
_BEGIN = f"BEGIN ISOLATION LEVEL READ COMMITTED; SELECT pg_advisory_xact_lock({schema.WRITING}); SAVEPOINT work"
_LOOK = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"


class PostgresStore:
    """Open with `PostgresStore.open(url)`; one instance per process; use from one event loop."""

    def __init__(self, url: str, writer: _Writer) -> None:
        self._writer, self._readers = writer, _Readers(url)
        self._writing = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store-writer")
        self._reading = ThreadPoolExecutor(max_workers=_READERS, thread_name_prefix="store-reader")
        self._url = url
        self._waiting: list[tuple[Work, asyncio.Future[Any]]] = []
        self._committer: asyncio.Task[None] | None = None

    @classmethod
    def open(cls, url: str) -> PostgresStore:
        """Open the database, and make its tables when it is empty; raises `StoreUnavailable`, or as `check_version`."""
        writer = _Writer(url)
        writer.open()
        return cls(url, writer)

    async def write(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` in a transaction and return its result once it is on disk; its exception undoes it alone."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append((work, future))
        if self._committer is None:
            self._committer = asyncio.create_task(self._commit_groups())
        return await future

    async def read(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` on what is committed at one moment."""
        return await asyncio.get_running_loop().run_in_executor(self._reading, self._readers.look, work)

    async def survey(self, work: Callable[[Transaction], T]) -> T:
        """Run `work`, which may take seconds, on what is committed now; holds up nobody."""
        return await asyncio.to_thread(_Readers(self._url, purpose="survey").look_once, work)

    async def close(self) -> None:
        while self._committer is not None:
            await asyncio.wait([self._committer])
        self._reading.shutdown()
        self._writing.shutdown()
        self._readers.close()
        self._writer.close()

    async def _commit_groups(self) -> None:
        try:
            while self._waiting:
                group, self._waiting = self._waiting[:_GROUP], self._waiting[_GROUP:]
                await self._commit(group)
        finally:
            self._committer = None

    async def _commit(self, group: list[tuple[Work, asyncio.Future[Any]]]) -> None:
        loop = asyncio.get_running_loop()
        try:
            outcomes = await loop.run_in_executor(self._writing, self._writer.write, [work for work, _ in group])
        except StoreError as error:
            outcomes = [error] * len(group)
        except BaseException:
            # The end of the process: nobody may wait for an answer that does not come.
            for _, future in group:
                future.cancel()
            raise
        for (_, future), outcome in zip(group, outcomes, strict=True):
            if future.cancelled():
                continue
            if isinstance(outcome, Exception):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)


class _Writer:
    """The session that writes; used by one thread at a time."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._session: Session | None = None

    def open(self) -> Session:
        session = connect(self._url, purpose="writer")
        try:
            schema.use(session)
        except psycopg.Error as error:
            session.close()
            raise StoreUnavailable(f"the database cannot be used: {describe(error)}") from error
        except BaseException:
            session.close()
            raise
        self._session = session
        return session

    def close(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None

    def write(self, works: Sequence[Work]) -> list[Any]:
        """Run and commit a group; returns results, and the exceptions of those that were undone."""
        session = self._begin()
        try:
            outcomes = [self._run(session, work) for work in works]
        except psycopg.Error as error:
            self._abandon(session)
            raise StoreUnavailable(f"the database cannot be written: {describe(error)}") from error
        except BaseException:
            self._abandon(session)
            raise
        self._commit(session)
        return outcomes

    def _begin(self) -> Session:
        """Take the lock; a session that was lost since the last group is replaced once."""
        for session in (self._session, None):
            if session is None:
                session = self.open()  # noqa: PLW2901 - the one that is used from now on
            try:
                command(session, _BEGIN)
            except psycopg.errors.LockNotAvailable as error:
                self._abandon(session)
                raise StoreUnavailable(
                    "the database cannot be written: other HQ processes have been writing all the time"
                ) from error
            except psycopg.Error as error:
                lost = is_lost(session)
                self._abandon(session)
                if not lost:
                    raise StoreUnavailable(f"the database cannot be written: {describe(error)}") from error
            else:
                return session
        raise StoreUnavailable("the database cannot be written: the connection is lost each time it is made")

    def _run(self, session: Session, work: Work) -> Any:
        outcome: Any
        try:
            outcome = work(Transaction(PostgresConnection(session), shared=True))
            if session.info.transaction_status == TransactionStatus.INERROR:
                # SQLite would let it go on. Nothing of the service does so, and both stores shall do the same.
                outcome = StoreError("a statement failed, and the transaction went on outside of `undo_on_error`")
        except psycopg.Error as error:
            if speaks_of_the_store(error, session):
                raise
            outcome = error
        except Exception as error:  # noqa: BLE001 - handed to the caller that sent the work
            outcome = error
        undo = isinstance(outcome, Exception)
        command(session, "ROLLBACK TO SAVEPOINT work" if undo else "RELEASE SAVEPOINT work; SAVEPOINT work")
        return outcome

    def _commit(self, session: Session) -> None:
        try:
            done = command(session, "COMMIT")
        except psycopg.Error as error:
            lost = is_lost(session)
            self._abandon(session)
            if lost:
                raise OutcomeUnknown(
                    f"the connection to the database was lost while writing: {describe(error)}"
                ) from error
            raise StoreUnavailable(f"the database cannot be written: {describe(error)}") from error
        if done != "COMMIT":
            raise StoreUnavailable(f"the database answered COMMIT with {done}: nothing was written")

    def _abandon(self, session: Session) -> None:
        """End a transaction whatever its state; a session that cannot do that is closed."""
        if not is_lost(session):
            with suppress(psycopg.Error):
                command(session, "ROLLBACK")
        if is_lost(session) or session.info.transaction_status != TransactionStatus.IDLE:
            session.close()
            self._session = None


class _Readers:
    """Sessions that only read; each is used by one thread at a time."""

    def __init__(self, url: str, *, purpose: str = "reader") -> None:
        self._url, self._purpose = url, purpose
        self._idle: deque[Session] = deque()

    def look(self, work: Callable[[Transaction], T]) -> T:
        """Run `work`; again on a new session when the one that was kept turns out to be lost."""
        kept = self._take()
        if kept is not None:
            try:
                return self._look(kept, work)
            except psycopg.Error as error:
                if not is_lost(kept):
                    raise StoreUnavailable(f"the database cannot be read: {describe(error)}") from error
        return self._fresh(work)

    def look_once(self, work: Callable[[Transaction], T]) -> T:
        try:
            return self._fresh(work)
        finally:
            self.close()

    def close(self) -> None:
        while (session := self._take()) is not None:
            session.close()

    def _take(self) -> Session | None:
        try:
            return self._idle.pop()
        except IndexError:
            return None

    def _fresh(self, work: Callable[[Transaction], T]) -> T:
        try:
            return self._look(connect(self._url, purpose=self._purpose), work)
        except psycopg.Error as error:
            raise StoreUnavailable(f"the database cannot be read: {describe(error)}") from error

    def _look(self, session: Session, work: Callable[[Transaction], T]) -> T:
        try:
            command(session, _LOOK)
            result = work(Transaction(PostgresConnection(session), shared=True))
        finally:
            with suppress(psycopg.Error):
                if not is_lost(session):
                    command(session, "ROLLBACK")  # nothing was written; it also ends what failed
            if is_lost(session):
                session.close()
            else:
                self._idle.append(session)
        return result
