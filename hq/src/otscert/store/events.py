"""The append-only record of what happened; alerts and timelines are read from it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from otscert.store.connection import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    id: int
    at_s: int
    kind: str
    device_id: str | None
    order_id: str | None
    data: dict[str, Any]


class Events:
    def __init__(self, connection: Connection) -> None:
        self._sql = connection.execute

    def append(
        self,
        kind: str,
        *,
        now_s: int,
        device_id: str | None = None,
        order_id: str | None = None,
        data: Mapping[str, object] | None = None,
    ) -> None:
        """Record that `kind` happened. `data` holds no secret."""
        self._sql(
            "INSERT INTO event (at_s, kind, device_id, order_id, data) VALUES (?, ?, ?, ?, ?)",
            (now_s, kind, device_id, order_id, json.dumps(data or {}, separators=(",", ":"))),
        )

    def last_s(self, kind: str) -> int | None:
        """When `kind` happened last."""
        row = self._sql("SELECT at_s FROM event WHERE kind = ? ORDER BY id DESC LIMIT 1", (kind,)).fetchone()
        return None if row is None else int(row[0])

    def sweep(self, *, before_s: int) -> int:
        """Forget what happened before; returns how many."""
        return self._sql("DELETE FROM event WHERE at_s < ?", (before_s,)).rowcount

    def of_device(self, device_id: str, *, limit: int) -> list[Event]:
        """The device's newest events, newest first."""
        rows = self._sql(
            "SELECT id, at_s, kind, device_id, order_id, data FROM event WHERE device_id = ? ORDER BY id DESC LIMIT ?",
            (device_id, limit),
        )
        return [
            Event(id=row[0], at_s=row[1], kind=row[2], device_id=row[3], order_id=row[4], data=json.loads(row[5]))
            for row in rows
        ]
