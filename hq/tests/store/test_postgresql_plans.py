"""Every method of every repository runs on PostgreSQL too, and has an index there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import psycopg
import pytest
from hq.tests.store.test_query_plans import CALLS, COUNTED, MEANT, TROUBLE

from otscert.store.dialect import statement
from otscert.store.postgresql_connection import PostgresConnection, Session, connect
from otscert.store.transaction import Transaction

Plan = dict[str, Any]
EXPLAINED = ("SELECT", "UPDATE", "DELETE", "INSERT")
SCANS = {"Index Scan", "Index Only Scan", "Bitmap Index Scan"}


class Explaining:
    """A connection that asks for the plan of each statement before it runs it."""

    IntegrityError = psycopg.IntegrityError

    def __init__(self, session: Session) -> None:
        self._session, self._connection = session, PostgresConnection(session)
        self.plans: list[tuple[str, Plan]] = []

    def execute(self, sql: str, values: Sequence[Any] = (), /) -> psycopg.Cursor[tuple[Any, ...]]:
        if sql.startswith(EXPLAINED):
            explain = self._session.execute(statement(f"EXPLAIN (FORMAT JSON) {sql}"), values, prepare=False)
            self.plans.extend((sql, each["Plan"]) for (found,) in explain for each in found)
        return self._connection.execute(sql, values)

    def executemany(self, sql: str, rows: Iterable[Sequence[Any]], /) -> None:
        for row in rows:
            self.execute(sql, row)


@pytest.fixture
def session(postgres_url: str) -> Iterator[Session]:
    """A session that walks a table only when there is no other way; the tables are too small to tell by the cost."""
    with connect(postgres_url, purpose="test") as session:
        session.execute("SET enable_seqscan = off")
        session.execute("SET enable_bitmapscan = off")
        yield session


def partial_indexes(session: Session) -> set[str]:
    return {row[0] for row in session.execute("SELECT indexrelid::regclass::text FROM pg_index WHERE indpred NOTNULL")}


def walks(plan: Plan, partial: set[str], *, limited: bool = False) -> Iterator[str]:
    """The nodes that read a whole table, or a whole index that holds more than what is asked for."""
    limited = limited or plan["Node Type"] == "Limit"
    if plan["Node Type"] == "Seq Scan":
        yield f"Seq Scan on {plan['Relation Name']}"
    if plan["Node Type"] in SCANS and "Index Cond" not in plan and not limited and plan["Index Name"] not in partial:
        yield f"{plan['Node Type']} using {plan['Index Name']} without a condition"
    for below in plan.get("Plans", []):
        # A sort has to see all of its rows before the first one comes.
        yield from walks(below, partial, limited=limited and plan["Node Type"] not in {"Sort", "Aggregate"})


def found(session: Session, calls: dict[str, Callable[[Transaction], Any]]) -> dict[str, list[str]]:
    partial, everything = partial_indexes(session), {}
    for name, call in calls.items():
        explaining = Explaining(session)
        call(Transaction(explaining, shared=True))
        everything[name] = [walk for _, plan in explaining.plans for walk in walks(plan, partial)]
    return {name: nodes for name, nodes in everything.items() if nodes}


def test_every_query_goes_by_an_index(session: Session) -> None:
    assert found(session, CALLS) == {}


def test_what_is_counted_runs_and_walks_no_table(session: Session) -> None:
    walked = found(session, {**COUNTED, **TROUBLE})
    assert {name: nodes for name, nodes in walked.items() if any("Seq Scan" in node for node in nodes)} == {}


def test_what_reads_everything_is_noticed(session: Session) -> None:
    # The names in DNS have an index of their own, which is walked.
    assert found(session, MEANT).keys() == MEANT.keys() - {"devices.names"}
