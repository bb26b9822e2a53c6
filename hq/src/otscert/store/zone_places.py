"""How far something about the zone has come: the SOA's serial, and what other servers have been sent."""

from __future__ import annotations

from otscert.store.connection import Connection

SERIAL = "serial"
"""The name under which the highest serial that any SOA may have had is kept."""
SERIAL_BASE = "serial base"
"""The name of what is added to the number of a change to get the serial, where processes share the store."""

# A handful for each server elsewhere, and its refused names, which are at most 100.
_MOST = 10_000


class ZonePlaces:
    def __init__(self, connection: Connection) -> None:
        self._sql = connection.execute

    def get(self, name: str) -> int | None:
        """How far it has come; None when it never was said."""
        row = self._sql("SELECT number FROM zone_place WHERE name = ?", (name,)).fetchone()
        return None if row is None else int(row[0])

    def put(self, name: str, number: int) -> None:
        """Say how far it has come, whatever was said before."""
        self._sql(
            "INSERT INTO zone_place (name, number) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET number = ?",
            (name, number, number),
        )

    def those(self, prefix: str) -> dict[str, int]:
        """How far each has come whose name begins so, by the rest of its name."""
        # Not a range of names: databases differ in how texts are ordered.
        rows = self._sql("SELECT name, number FROM zone_place ORDER BY name LIMIT ?", (_MOST,)).fetchall()
        return {str(row[0]).removeprefix(prefix): int(row[1]) for row in rows if str(row[0]).startswith(prefix)}

    def drop(self, name: str) -> None:
        """Forget it; one that was never said is fine."""
        self._sql("DELETE FROM zone_place WHERE name = ?", (name,))
