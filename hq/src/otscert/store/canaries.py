"""RNG canaries of admitted boxes, and the marks on models whose generator repeats."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from otscert.store.connection import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Canary:
    device_id: str
    boot: int
    model: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    kind: str
    at_s: int
    data: dict[str, Any]


class Canaries:
    def __init__(self, connection: Connection) -> None:
        self._sql = connection.execute

    def enter(self, sha256: str, canary: Canary, *, now_s: int) -> bool:
        """Note which start had this canary; False when that start has said it before."""
        return bool(
            self._sql(
                "INSERT INTO canary (sha256, device_id, boot, model, seen_at_s) VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT DO NOTHING",
                (sha256, canary.device_id, canary.boot, canary.model, now_s),
            ).rowcount
        )

    def others(self, sha256: str, canary: Canary, *, limit: int) -> list[Canary]:
        """Other starts, of this box or of another one, that had the same canary."""
        rows = self._sql(
            "SELECT device_id, boot, model FROM canary WHERE sha256 = ? AND NOT (device_id = ? AND boot = ?)"
            " ORDER BY device_id, boot LIMIT ?",
            (sha256, canary.device_id, canary.boot, limit),
        )
        return [Canary(device_id=row[0], boot=row[1], model=row[2]) for row in rows]

    def sweep(self, *, before_s: int) -> int:
        return self._sql("DELETE FROM canary WHERE seen_at_s < ?", (before_s,)).rowcount

    def mark(self, model: str, kind: str, *, now_s: int, data: Mapping[str, object]) -> bool:
        """Hold something against a model; False when it is held already."""
        return bool(
            self._sql(
                "INSERT INTO model_mark (model, kind, at_s, data) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (model, kind, now_s, json.dumps(data, separators=(",", ":"))),
            ).rowcount
        )

    def marks(self, model: str) -> list[Mark]:
        rows = self._sql("SELECT kind, at_s, data FROM model_mark WHERE model = ? ORDER BY kind", (model,))
        return [Mark(kind=row[0], at_s=row[1], data=json.loads(row[2])) for row in rows]

    def clear(self, model: str, kind: str) -> bool:
        """A person has dealt with it; False when there was no such mark."""
        return bool(self._sql("DELETE FROM model_mark WHERE model = ? AND kind = ?", (model, kind)).rowcount)
