"""Stamped units as their manifests say, and serial numbers that are blocked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from otscert.domain.unit import Unit, UnitState
from otscert.store.connection import Connection

_COLUMNS = "thumbprint, model, serial, short_id, sign_key, seal_key, setup_hash, batch, state, device_id, fingerprint"

_AT_ONCE = 200


def _unit(row: tuple[Any, ...]) -> Unit:
    values = dict(zip(Unit.__slots__, row, strict=True))
    return Unit(**{**values, "state": UnitState(values["state"])})


def _unique(unit: Unit) -> tuple[object, ...]:
    """What no other unit may have."""
    return unit.thumbprint, unit.seal_key, ("short id", unit.short_id), (unit.model, unit.serial)


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchCount:
    """A batch, and how many of its units are in each state."""

    name: str
    models: tuple[str, ...]
    units: int
    enrolled: int
    states: Mapping[str, int]


class Units:
    def __init__(self, connection: Connection) -> None:
        self._sql = connection.execute
        self._sql_many = connection.executemany

    def by_thumbprint(self, thumbprint: str) -> Unit | None:
        row = self._sql(f"SELECT {_COLUMNS} FROM factory_unit WHERE thumbprint = ?", (thumbprint,)).fetchone()
        return _unit(row) if row else None

    def by_serial(self, model: str, serial: str) -> Unit | None:
        row = self._sql(
            f"SELECT {_COLUMNS} FROM factory_unit WHERE model = ? AND serial = ?", (model, serial)
        ).fetchone()
        return _unit(row) if row else None

    def named(self, text: str) -> list[Unit]:
        """The unit with this short id, or up to two with this serial number (of different models)."""
        unit = self._sql(f"SELECT {_COLUMNS} FROM factory_unit WHERE short_id = ?", (text,)).fetchone()
        rows = [unit] if unit else self._sql(f"SELECT {_COLUMNS} FROM factory_unit WHERE serial = ? LIMIT 2", (text,))
        return [_unit(row) for row in rows]

    def batches(self, *, after: str, limit: int) -> list[BatchCount]:
        """Batches by name; one look into the index for each, whatever the number of units before it."""
        found: list[BatchCount] = []
        while len(found) < limit:
            row = self._sql(
                "SELECT batch FROM factory_unit WHERE batch > ? ORDER BY batch LIMIT 1", (after,)
            ).fetchone()
            if row is None:
                break
            after = row[0]
            found.append(self._count(after))
        return found

    def _count(self, batch: str) -> BatchCount:
        rows = self._sql(
            "SELECT model, state, count(*), count(device_id) FROM factory_unit WHERE batch = ?"
            " GROUP BY model, state ORDER BY model, state",
            (batch,),
        ).fetchall()
        states: dict[str, int] = {}
        for _, state, units, _ in rows:
            states[state] = states.get(state, 0) + units
        return BatchCount(
            name=batch,
            models=tuple(dict.fromkeys(row[0] for row in rows)),
            units=sum(row[2] for row in rows),
            enrolled=sum(row[3] for row in rows),
            states=states,
        )

    def of_batch(self, batch: str, *, after: Unit | None, limit: int) -> list[Unit]:
        """Units of a batch by serial number, from behind this one."""
        last = (after.serial, after.short_id) if after else ("", "")
        rows = self._sql(
            f"SELECT {_COLUMNS} FROM factory_unit WHERE batch = ? AND (serial, short_id) > (?, ?)"
            " ORDER BY serial, short_id LIMIT ?",
            (batch, *last, limit),
        )
        return [_unit(row) for row in rows]

    def like(self, units: Sequence[Unit]) -> list[Unit]:
        """Units that are there and share a key, a short id, or model and serial number with one of these."""
        found: list[Unit] = []
        for start in range(0, len(units), _AT_ONCE):
            part = units[start : start + _AT_ONCE]
            marks = ", ".join("?" * len(part))
            names = ("thumbprint", "short_id", "seal_key", "serial")
            rows = self._sql(
                " UNION ".join(f"SELECT {_COLUMNS} FROM factory_unit WHERE {name} IN ({marks})" for name in names),
                [getattr(unit, name) for name in names for unit in part],
            )
            # Two models may have the same serial number.
            unique = {value for unit in part for value in _unique(unit)}
            found += [unit for unit in map(_unit, rows) if not unique.isdisjoint(_unique(unit))]
        return found

    def add_many(self, units: Iterable[Unit], *, now_s: int) -> None:
        """Enter new units; raises the connection's `IntegrityError` when one is there: undo the whole then."""
        self._sql_many(
            f"INSERT INTO factory_unit ({_COLUMNS}, imported_at_s) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            ((*(getattr(unit, name) for name in Unit.__slots__), now_s) for unit in units),
        )

    def enrolled(self, thumbprint: str, *, device_id: str, fingerprint: str) -> None:
        """The unit is this device from now on, on this board."""
        self._sql(
            "UPDATE factory_unit SET device_id = ?, fingerprint = ? WHERE thumbprint = ?",
            (device_id, fingerprint, thumbprint),
        )

    def set_state(self, thumbprint: str, state: UnitState) -> None:
        self._sql("UPDATE factory_unit SET state = ? WHERE thumbprint = ?", (state, thumbprint))

    def forget_board(self, thumbprint: str) -> None:
        """Whatever board comes next with this factory key is the unit's."""
        self._sql("UPDATE factory_unit SET fingerprint = NULL WHERE thumbprint = ?", (thumbprint,))

    def block_serial(self, model: str, serial: str, *, reason: str, now_s: int) -> None:
        self._sql(
            "INSERT INTO blocked_serial (model, serial, reason, at_s) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (model, serial) DO UPDATE SET reason = excluded.reason",
            (model, serial, reason, now_s),
        )

    def unblock_serial(self, model: str, serial: str) -> bool:
        """False when it was not blocked."""
        return bool(self._sql("DELETE FROM blocked_serial WHERE model = ? AND serial = ?", (model, serial)).rowcount)

    def blocked(self, model: str, serial: str) -> str | None:
        """Why this serial number is blocked; None when it is not."""
        row = self._sql("SELECT reason FROM blocked_serial WHERE model = ? AND serial = ?", (model, serial)).fetchone()
        return row[0] if row else None
