"""Challenge values that the zone answers."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable


class Challenges:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._sql = connection.execute

    def put(self, order_id: str, label: str, values: Iterable[str]) -> None:
        for value in values:
            self._sql(
                "INSERT INTO challenge_txt (order_id, label, value) VALUES (?, ?, ?)"
                " ON CONFLICT (order_id, value) DO NOTHING",
                (order_id, label, value),
            )

    def drop(self, order_id: str) -> list[tuple[str, str]]:
        """Remove an order's values; returns them as (label, value)."""
        rows = self._sql("DELETE FROM challenge_txt WHERE order_id = ? RETURNING label, value", (order_id,)).fetchall()
        return [(label, value) for label, value in rows]

    def all(self) -> list[tuple[str, str]]:
        """Every (label, value) that the zone has to answer."""
        return [(label, value) for label, value in self._sql("SELECT label, value FROM challenge_txt")]
