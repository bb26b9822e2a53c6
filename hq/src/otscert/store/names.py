"""Names given and reserved."""

from __future__ import annotations

from otscert.store.connection import Connection
from otscert.store.errors import Moved


class Names:
    def __init__(self, connection: Connection) -> None:
        self._sql = connection.execute

    def reserve(self, label: str, *, txid: str) -> bool:
        """Reserve a fresh label for a transaction; False when the label was ever given or is reserved."""
        row = self._sql(
            "INSERT INTO name (label, txid) VALUES (?, ?) ON CONFLICT (label) DO NOTHING RETURNING label",
            (label, txid),
        ).fetchone()
        return row is not None

    def give(self, label: str, *, device_id: str) -> None:
        """Make a reservation permanent; raise `Moved` when there is none (any more)."""
        changed = self._sql(
            "UPDATE name SET txid = NULL, device_id = ? WHERE label = ? AND device_id IS NULL", (device_id, label)
        ).rowcount
        if changed != 1:
            raise Moved(f"the name {label} is not reserved")
