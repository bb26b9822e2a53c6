"""What only one of the processes does at a time, and who does it until when."""

from __future__ import annotations

from otscert.store.connection import Connection

_LONGEST_S = 600
"""Nobody takes a duty for so long; one that ends later was taken by a clock that was ahead."""


class Duties:
    def __init__(self, connection: Connection) -> None:
        self._sql = connection.execute

    def take(self, name: str, *, by: str, now_s: int, until_s: int) -> bool:
        """Take a duty that is free or run out, or keep one's own; False while another process has it."""
        taken = self._sql(
            "INSERT INTO duty (name, held_by, until_s) VALUES (?, ?, ?)"
            " ON CONFLICT (name) DO UPDATE SET held_by = excluded.held_by, until_s = excluded.until_s"
            " WHERE duty.held_by = excluded.held_by OR duty.until_s <= ? OR duty.until_s > ?",
            (name, by, until_s, now_s, now_s + _LONGEST_S),
        ).rowcount
        return taken == 1

    def holder(self, name: str, *, now_s: int) -> str | None:
        """Who has it now; None when nobody does."""
        row = self._sql(
            "SELECT held_by FROM duty WHERE name = ? AND until_s > ? AND until_s <= ?",
            (name, now_s, now_s + _LONGEST_S),
        ).fetchone()
        return row[0] if row else None

    def give_back(self, name: str, *, by: str) -> None:
        self._sql("DELETE FROM duty WHERE name = ? AND held_by = ?", (name, by))

    def all(self) -> list[tuple[str, str]]:
        """Every duty and who had it last."""
        rows = self._sql("SELECT name, held_by FROM duty ORDER BY name LIMIT 100").fetchall()
        return [(row[0], row[1]) for row in rows]
