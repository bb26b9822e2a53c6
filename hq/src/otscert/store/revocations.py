"""Certificates that are to be revoked at their CA."""

from __future__ import annotations

from dataclasses import dataclass

from otscert.domain.recall import CrlReason
from otscert.store.connection import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Revocation:
    """`reason` is a CRLReason (RFC 5280, section 5.3.1)."""

    certificate_sha256: str
    reason: int
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """`problem` with `done_at_s`: given up; without it: the last try failed. Empty and done: revoked."""

    done_at_s: int | None
    problem: str


class Revocations:
    def __init__(self, connection: Connection) -> None:
        self._sql = connection.execute

    def ask(self, certificate_sha256: str, *, reason: int, now_s: int) -> None:
        """Have a certificate revoked; asking again changes nothing, but that its key is known to others counts more."""
        self._sql(
            "INSERT INTO revocation (certificate_sha256, reason, asked_at_s, next_at_s, attempt, problem)"
            " VALUES (?, ?, ?, ?, 0, '') ON CONFLICT (certificate_sha256) DO UPDATE SET"
            " reason = excluded.reason, next_at_s = excluded.next_at_s"
            f" WHERE revocation.done_at_s IS NULL AND excluded.reason = {int(CrlReason.KEY_COMPROMISE)}",
            (certificate_sha256, reason, now_s, now_s),
        )

    def due(self, *, now_s: int, limit: int) -> list[Revocation]:
        rows = self._sql(
            "SELECT certificate_sha256, reason, attempt FROM revocation"
            " WHERE done_at_s IS NULL AND next_at_s <= ? ORDER BY next_at_s LIMIT ?",
            (now_s, limit),
        )
        return [Revocation(certificate_sha256=row[0], reason=row[1], attempt=row[2]) for row in rows]

    def bring_back(self, *, from_s: int, now_s: int) -> int:
        """Let those go on now that would wait until `from_s` or longer; returns how many."""
        return self._sql(
            "UPDATE revocation SET next_at_s = ? WHERE done_at_s IS NULL AND next_at_s >= ?", (now_s, from_s)
        ).rowcount

    def done(self, certificate_sha256: str, *, now_s: int, problem: str = "") -> None:
        """Nothing more is done about it; `problem` says why it could not be revoked, when it could not."""
        self._sql(
            "UPDATE revocation SET done_at_s = ?, problem = ? WHERE certificate_sha256 = ?",
            (now_s, problem, certificate_sha256),
        )

    def outcome(self, certificate_sha256: str) -> Outcome | None:
        """What has become of it; None when nobody asked."""
        row = self._sql(
            "SELECT done_at_s, problem FROM revocation WHERE certificate_sha256 = ?", (certificate_sha256,)
        ).fetchone()
        return Outcome(done_at_s=row[0], problem=row[1]) if row else None

    def failed(self, certificate_sha256: str, *, problem: str, next_at_s: int) -> None:
        self._sql(
            "UPDATE revocation SET attempt = attempt + 1, problem = ?, next_at_s = ? WHERE certificate_sha256 = ?",
            (problem, next_at_s, certificate_sha256),
        )
