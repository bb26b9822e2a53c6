"""Which labels changed in the zone, in the order of the commits: for zones in other processes.

Written in the transaction of the change itself, and only in a store that is followed: processes can share it, or
servers elsewhere hold the zone. Knows no addresses and
no values: who follows reads what the label has now. Writers follow one after the other, so numbers commit in order.
"""

from __future__ import annotations

from dataclasses import dataclass

from otscert.store.connection import Connection

TOP = ""
"""Stands for the label where the zone itself is meant: its CAA records."""
KEPT = 20_000
"""Changes that are kept; who fell further behind loads the whole zone anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelContent:
    """What the zone holds for a label: its device's model and addresses, if it is in DNS, and its challenge values.

    `serves`: the box's web server presents its newest certificate.
    """

    label: str
    device: tuple[str, str] | None
    values: tuple[str, ...]
    serves: bool = False


class ZoneChanges:
    def __init__(self, connection: Connection, *, written: bool) -> None:
        self._sql = connection.execute
        self._written = written

    # ---- for the repositories that change what the zone shows

    def note(self, label: str) -> None:
        if self._written:
            self._sql("INSERT INTO zone_change (label) VALUES (?)", (label,))

    def note_device(self, device_id: str, *, state: str, addresses: str, in_dns: int, serves: int) -> None:
        """Note the device's label if its row, which is still as before, says anything else of these."""
        self._note_where(
            "id = ? AND (state <> ? OR addresses <> ? OR in_dns <> ?"
            " OR CASE WHEN serving_since_s IS NULL THEN 0 ELSE 1 END <> ?)",
            (device_id, state, addresses, in_dns, serves),
        )

    def note_not_serving(self, device_id: str) -> None:
        self._note_where("id = ? AND serving_since_s IS NOT NULL", (device_id,))

    def note_state(self, device_id: str, state: str) -> None:
        self._note_where("id = ? AND state <> ?", (device_id, state))

    def note_in_dns(self, device_id: str, in_dns: int) -> None:
        self._note_where("id = ? AND in_dns <> ?", (device_id, in_dns))

    def _note_where(self, condition: str, values: tuple[object, ...]) -> None:
        if self._written:
            self._sql(f"INSERT INTO zone_change (label) SELECT label FROM device WHERE {condition}", values)

    # ---- for those who follow

    def last(self) -> int:
        """The number of the newest change; 0 when there was none."""
        (number,) = self._sql("SELECT max(number) FROM zone_change").fetchone()
        return int(number or 0)

    def is_known(self, number: int) -> bool:
        """Whether nothing is missing after this change: it is still there, or there was none at all."""
        if number == 0:
            (first,) = self._sql("SELECT min(number) FROM zone_change").fetchone()
            return first is None or first <= 1
        return self._sql("SELECT 1 FROM zone_change WHERE number = ?", (number,)).fetchone() is not None

    def after(self, number: int, *, limit: int) -> list[tuple[int, str]]:
        """The changes that follow, as (number, label), the oldest first."""
        rows = self._sql(
            "SELECT number, label FROM zone_change WHERE number > ? ORDER BY number LIMIT ?", (number, limit)
        )
        return [(row[0], row[1]) for row in rows]

    def content(self, label: str) -> LabelContent:
        """What the zone is to hold for this label now."""
        device = self._sql(
            "SELECT model, addresses, serving_since_s FROM device"
            " WHERE label = ? AND in_dns = 1 AND state <> 'retired'",
            (label,),
        ).fetchone()
        values = self._sql("SELECT DISTINCT value FROM challenge_txt WHERE label = ? ORDER BY value", (label,))
        return LabelContent(
            label=label,
            device=(device[0], device[1]) if device else None,
            values=tuple(row[0] for row in values),
            serves=bool(device) and device[2] is not None,
        )

    def forget(self) -> None:
        """Forget all: nobody follows, so the next changes are not written, and numbers of before are unknown."""
        self._sql("DELETE FROM zone_change WHERE number <= ?", (self.last(),))

    def sweep(self) -> int:
        """Forget all but the newest; the last one always stays. Returns how many."""
        return self._sql("DELETE FROM zone_change WHERE number <= ?", (self.last() - KEPT,)).rowcount
