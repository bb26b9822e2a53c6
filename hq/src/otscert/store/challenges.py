"""Challenge values that the zone answers."""

from __future__ import annotations

from collections.abc import Iterable

from otscert.domain import zone_checks
from otscert.store.connection import Connection
from otscert.store.zone_changes import ZoneChanges


class Challenges:
    def __init__(self, connection: Connection, changes: ZoneChanges) -> None:
        self._sql = connection.execute
        self._changes = changes

    def put(self, order_id: str, label: str, values: Iterable[str]) -> None:
        for value in values:
            self._sql(
                "INSERT INTO challenge_txt (order_id, label, value) VALUES (?, ?, ?)"
                " ON CONFLICT (order_id, value) DO NOTHING",
                (order_id, label, value),
            )
        self._changes.note(label)

    def drop(self, order_id: str) -> list[tuple[str, str]]:
        """Remove an order's values; returns as (label, value) those that no other order needs."""
        rows = self._sql("DELETE FROM challenge_txt WHERE order_id = ? RETURNING label, value", (order_id,)).fetchall()
        for label in {row[0] for row in rows}:
            self._changes.note(label)
        return [(label, value) for label, value in rows if not self._needed(label, value)]

    def drop_of(self, label: str) -> list[tuple[str, str]]:
        """Remove all values of a label whose name was taken back; returns them."""
        rows = self._sql("DELETE FROM challenge_txt WHERE label = ? RETURNING label, value", (label,)).fetchall()
        if rows:
            self._changes.note(label)
        return [(row[0], row[1]) for row in rows]

    def _needed(self, label: str, value: str) -> bool:
        # Two orders for the same names share authorizations, and with them their TXT values.
        row = self._sql("SELECT 1 FROM challenge_txt WHERE label = ? AND value = ?", (label, value)).fetchone()
        return row is not None

    def of_checks(self) -> list[str]:
        """The values of `otscert zone check` that the zone has to answer now."""
        rows = self._sql(
            "SELECT DISTINCT value FROM challenge_txt WHERE label = ? ORDER BY value", (zone_checks.LABEL,)
        )
        return [row[0] for row in rows]

    def sweep_checks(self, *, now_s: int) -> int:
        """Remove what a check that did not end by itself has left behind; returns how many values."""
        rows = self._sql(
            "SELECT DISTINCT order_id FROM challenge_txt WHERE label = ? ORDER BY order_id", (zone_checks.LABEL,)
        ).fetchall()
        return sum(len(self.drop(row[0])) for row in rows if zone_checks.is_over(row[0], now_s=now_s))

    def all(self) -> list[tuple[str, str]]:
        """Every (label, value) that the zone has to answer."""
        return [(label, value) for label, value in self._sql("SELECT label, value FROM challenge_txt")]
