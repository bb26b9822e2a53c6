"""How far the CAs' limits are used up: a row for each bucket of `domain.budget` that was drawn from or parked.

Exact because transactions that write do not overlap: what is read in one holds until it is committed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from otscert.domain.budget import Bucket, Level
from otscert.store.connection import Connection

_UNUSED_MS = 0
"""Stored for a bucket that was only parked: a moment long ago, when it was full."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Former:
    """What a CA gave a device last: for which names, until when, and its suggested window (Unix seconds)."""

    names: tuple[str, ...]
    not_after_s: int
    window_s: tuple[int, int] | None


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

    def former(self, device_id: str, issuer: str) -> Former | None:
        """The device's newest certificate of an issuer, of an identity that is over too; None when it gave none."""
        row = self._sql(
            "SELECT o.names, c.not_after_s, c.ari_start_s, c.ari_end_s FROM certificate c"
            " JOIN cert_order o ON o.id = c.order_id WHERE c.device_id = ? AND c.issuer = ?"
            " ORDER BY c.issued_at_s DESC, c.not_after_s DESC LIMIT 1",
            (device_id, issuer),
        ).fetchone()
        if row is None:
            return None
        window_s = None if row[2] is None or row[3] is None else (int(row[2]), int(row[3]))
        return Former(names=tuple(row[0].split()), not_after_s=row[1], window_s=window_s)

    def of_issuer(self, issuer: str) -> dict[Bucket, Level]:
        """All of an issuer's buckets that are not known to be full, by name."""
        rows = self._sql(
            "SELECT name, tat_ms, parked_until_s, reason FROM bucket WHERE issuer = ? ORDER BY name", (issuer,)
        )
        return {Bucket.parse(row[0]): Level(tat_ms=row[1], parked_until_s=row[2], reason=row[3]) for row in rows}

    def sweep(self, *, now_s: int) -> int:
        """Forget buckets that are full again and not parked; returns how many."""
        return self._sql("DELETE FROM bucket WHERE tat_ms < ? AND parked_until_s <= ?", (now_s * 1000, now_s)).rowcount
