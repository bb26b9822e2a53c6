"""How far the CAs' limits are used up: a row for each bucket of `domain.budget` that was drawn from or parked.

Exact because transactions that write do not overlap: what is read in one holds until it is committed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from otscert.domain.budget import Bucket, Level
from otscert.store.connection import Connection

_UNUSED_MS = 0
"""Stored for a bucket that was only parked: a moment long ago, when it was full."""


class Buckets:
    def __init__(self, connection: Connection) -> None:
        self._sql = connection.execute
        self._many = connection.executemany

    def levels(self, buckets: Iterable[Bucket]) -> dict[Bucket, Level]:
        """The levels of those that have a row; the others are full."""
        found: dict[Bucket, Level] = {}
        for bucket in buckets:
            row = self._sql(
                "SELECT tat_ms, parked_until_s, reason FROM bucket WHERE name = ?", (bucket.name,)
            ).fetchone()
            if row is not None:
                found[bucket] = Level(tat_ms=row[0], parked_until_s=row[1], reason=row[2])
        return found

    def keep(self, levels: Mapping[Bucket, int]) -> None:
        """Store what was decided: `BudgetDecision.levels_after`. Parks stay as they are."""
        self._many(
            "INSERT INTO bucket (name, issuer, tat_ms, parked_until_s, reason) VALUES (?, ?, ?, 0, '')"
            " ON CONFLICT (name) DO UPDATE SET tat_ms = excluded.tat_ms",
            [(bucket.name, bucket.issuer, tat_ms) for bucket, tat_ms in levels.items()],
        )

    def park(self, bucket: Bucket, level: Level) -> None:
        """Store that the CA lets nothing of it pass until a moment, and what HQ counts from then on."""
        self._sql(
            "INSERT INTO bucket (name, issuer, tat_ms, parked_until_s, reason) VALUES (?, ?, ?, ?, ?)"
            " ON CONFLICT (name) DO UPDATE SET tat_ms = excluded.tat_ms, parked_until_s = excluded.parked_until_s,"
            " reason = excluded.reason",
            (
                bucket.name,
                bucket.issuer,
                _UNUSED_MS if level.tat_ms is None else level.tat_ms,
                level.parked_until_s,
                level.reason,
            ),
        )

    def of_issuer(self, issuer: str) -> dict[Bucket, Level]:
        """All of an issuer's buckets that are not known to be full, by name."""
        rows = self._sql(
            "SELECT name, tat_ms, parked_until_s, reason FROM bucket WHERE issuer = ? ORDER BY name", (issuer,)
        )
        return {Bucket.parse(row[0]): Level(tat_ms=row[1], parked_until_s=row[2], reason=row[3]) for row in rows}

    def sweep(self, *, now_s: int) -> int:
        """Forget buckets that are full again and not parked; returns how many."""
        return self._sql("DELETE FROM bucket WHERE tat_ms < ? AND parked_until_s <= ?", (now_s * 1000, now_s)).rowcount
