"""What HQ has learned about each issuer: its circuit breaker, its last certificate, and what a person has to see to."""

from __future__ import annotations

from dataclasses import dataclass

from otscert.domain.breaker import WELL, Breaker
from otscert.store.connection import Connection

_COLUMNS = (
    "name, failures, failing_since_s, open_until_s, reason, last_success_s, account_problem, account_reason,"
    " account_link, account_since_s"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountProblem:
    """`kind` is lost, paused, terms or refused; `link` is where a person has to go, and may let him act."""

    kind: str
    reason: str
    link: str
    since_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Issuer:
    name: str
    breaker: Breaker = WELL
    last_success_s: int | None = None
    problem: AccountProblem | None = None


class Issuers:
    def __init__(self, connection: Connection) -> None:
        self._sql = connection.execute

    def get(self, name: str) -> Issuer:
        """What is known; of one that nothing is known of: that it is well."""
        row = self._sql(f"SELECT {_COLUMNS} FROM issuer WHERE name = ?", (name,)).fetchone()
        if row is None:
            return Issuer(name=name)
        problem = AccountProblem(kind=row[6], reason=row[7], link=row[8], since_s=row[9] or 0) if row[6] else None
        breaker = Breaker(failures=row[1], failing_since_s=row[2], open_until_s=row[3], reason=row[4])
        return Issuer(name=row[0], breaker=breaker, last_success_s=row[5], problem=problem)

    def save(self, issuer: Issuer) -> None:
        breaker, problem = issuer.breaker, issuer.problem
        values = (
            breaker.failures,
            breaker.failing_since_s,
            breaker.open_until_s,
            breaker.reason,
            issuer.last_success_s,
            problem.kind if problem else "",
            problem.reason if problem else "",
            problem.link if problem else "",
            problem.since_s if problem else None,
        )
        changed = self._sql(
            "UPDATE issuer SET failures = ?, failing_since_s = ?, open_until_s = ?, reason = ?, last_success_s = ?,"
            " account_problem = ?, account_reason = ?, account_link = ?, account_since_s = ? WHERE name = ?",
            (*values, issuer.name),
        ).rowcount
        if not changed:
            self._sql(
                f"INSERT INTO issuer ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (issuer.name, *values),
            )
