"""Devices as rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from otscert.domain.device import Device, DeviceState, Retired
from otscert.domain.ratchet import Ratchet
from otscert.store.connection import Connection
from otscert.store.errors import Moved
from otscert.store.zone_changes import ZoneChanges

_COLUMNS = (
    "id, thumbprint, model, serial, firmware, label, state, policy, contribution, source, admitted_at_s, last_seen_s,"
    " addresses, served_sha256, unserved, token_hash, previous_hash, last_txid, fingerprint, last_resync_s,"
    " cmd_seq, unit, tags, retired, in_dns, serving_since_s"
)


def _device(row: tuple[Any, ...]) -> Device:
    return Device(
        id=row[0],
        thumbprint=row[1],
        model=row[2],
        serial=row[3],
        firmware=row[4],
        label=row[5],
        state=DeviceState(row[6]),
        policy=row[7],
        contribution=row[8],
        source=row[9],
        admitted_at_s=row[10],
        last_seen_s=row[11],
        addresses=tuple(row[12].split()),
        served_sha256=row[13],
        unserved=row[14],
        cmd_seq=row[20],
        ratchet=Ratchet(
            token_hash=row[15], previous_hash=row[16], last_txid=row[17], fingerprint=row[18], last_resync_s=row[19]
        ),
        unit=row[21],
        tags=tuple(row[22].split()),
        retired=Retired(row[23]) if row[23] else None,
        in_dns=bool(row[24]),
        serving_since_s=row[25],
    )


class Devices:
    def __init__(self, connection: Connection, changes: ZoneChanges) -> None:
        self._sql = connection.execute
        self._changes = changes

    def get(self, device_id: str) -> Device | None:
        row = self._sql(f"SELECT {_COLUMNS} FROM device WHERE id = ?", (device_id,)).fetchone()
        return _device(row) if row else None

    def find(self, text: str) -> Device | None:
        """Look a device up by id, label or serial (the operator's words); by serial, the one that is in service."""
        row = self._sql(
            f"SELECT {_COLUMNS} FROM device WHERE id = ?"
            f" UNION ALL SELECT {_COLUMNS} FROM device WHERE label = ? LIMIT 1",
            (text, text),
        ).fetchone()
        if row is not None:
            return _device(row)
        return next(iter(self.of_serial(text, limit=1)), None)

    def of_serial(self, serial: str, *, limit: int) -> list[Device]:
        """The devices with this serial number: those in service first, the newest of them first."""
        rows = self._sql(
            f"SELECT {_COLUMNS} FROM device WHERE serial = ? ORDER BY retired IS NOT NULL, admitted_at_s DESC, id"
            " LIMIT ?",
            (serial, limit),
        )
        return [_device(row) for row in rows]

    def near(self, text: str, *, each: int) -> set[str]:
        """Serial numbers and labels that stand next to this text in their order, up to `each` of them on each side."""
        queries = (
            f"SELECT {column} FROM device WHERE {column} {sign} ? ORDER BY {column} {order} LIMIT ?"
            for column in ("serial", "label")
            for sign, order in (("<", "DESC"), (">", "ASC"))
        )
        return {row[0] for query in queries for row in self._sql(query, (text, each))}

    def page(self, *, after_id: str, limit: int) -> list[Device]:
        rows = self._sql(
            f"SELECT {_COLUMNS} FROM device WHERE id > ? ORDER BY id LIMIT ?",
            (after_id, limit),
        )
        return [_device(row) for row in rows]

    def of_unit(self, unit: str) -> list[Device]:
        """The devices that a stamped unit was, oldest first."""
        rows = self._sql(f"SELECT {_COLUMNS} FROM device WHERE unit = ? ORDER BY admitted_at_s, id", (unit,))
        return [_device(row) for row in rows]

    def tally(self, model: str) -> list[tuple[tuple[str, str, str, str], int]]:
        """How many devices of a model there are of each policy, contribution, source and state."""
        rows = self._sql(
            "SELECT policy, contribution, source, state, count(*) FROM device WHERE model = ?"
            " GROUP BY policy, contribution, source, state",
            (model,),
        )
        return [(tuple(row[:4]), row[4]) for row in rows]

    def labels(self, *, after: str, limit: int) -> list[str]:
        """The labels of all devices ever named, also of those that are retired, in their order."""
        rows = self._sql("SELECT label FROM device WHERE label > ? ORDER BY label LIMIT ?", (after, limit))
        return [row[0] for row in rows]

    def names(self) -> Iterator[tuple[str, str, str, int | None]]:
        """Label, model, addresses and `serving_since_s` of every device that the zone holds, for its start."""
        return iter(
            self._sql(
                "SELECT label, model, addresses, serving_since_s FROM device WHERE in_dns = 1 AND state <> 'retired'"
            )
        )

    def names_after(self, label: str, *, limit: int) -> list[tuple[str, str, str, int | None]]:
        """The same in the order of their labels, from behind one on: for those who cannot hold all of them."""
        rows = self._sql(
            "SELECT label, model, addresses, serving_since_s FROM device"
            " WHERE label > ? AND in_dns = 1 AND state <> 'retired' ORDER BY label LIMIT ?",
            (label, limit),
        )
        return [(row[0], row[1], row[2], row[3]) for row in rows]

    def retired_in_dns(self, *, limit: int) -> list[Device]:
        """Devices whose name was taken back, and that a running zone may still hold."""
        rows = self._sql(
            f"SELECT {_COLUMNS} FROM device WHERE in_dns = 1 AND state = 'retired' ORDER BY id LIMIT ?", (limit,)
        )
        return [_device(row) for row in rows]

    def silent_in_dns(self, *, seen_before_s: int, limit: int) -> list[Device]:
        """Devices in DNS that did not call since, the longest silent first."""
        rows = self._sql(
            f"SELECT {_COLUMNS} FROM device WHERE in_dns = 1 AND last_seen_s < ? AND state <> 'retired'"
            " ORDER BY last_seen_s LIMIT ?",
            (seen_before_s, limit),
        )
        return [_device(row) for row in rows]

    def leave_dns(self, device_id: str) -> None:
        self._changes.note_in_dns(device_id, 0)
        self._sql("UPDATE device SET in_dns = 0 WHERE id = ?", (device_id,))

    def seen(self, device_id: str, *, now_s: int) -> None:
        """The box called; its name belongs into DNS."""
        self._changes.note_in_dns(device_id, 1)
        self._sql("UPDATE device SET last_seen_s = ?, in_dns = 1 WHERE id = ?", (now_s, device_id))

    def add(self, device: Device) -> None:
        ratchet = device.ratchet
        self._changes.note(device.label)
        self._sql(
            f"INSERT INTO device ({_COLUMNS})"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                device.id,
                device.thumbprint,
                device.model,
                device.serial,
                device.firmware,
                device.label,
                device.state,
                device.policy,
                device.contribution,
                device.source,
                device.admitted_at_s,
                device.last_seen_s,
                " ".join(device.addresses),
                device.served_sha256,
                device.unserved,
                ratchet.token_hash,
                ratchet.previous_hash,
                ratchet.last_txid,
                ratchet.fingerprint,
                ratchet.last_resync_s,
                device.cmd_seq,
                device.unit,
                " ".join(device.tags),
                device.retired,
                int(device.in_dns),
                device.serving_since_s,
            ),
        )

    def save(self, device: Device, *, seen_token_hash: bytes) -> None:
        """Write what a call changed, if nobody else advanced the ratchet since; else raise `Moved`."""
        ratchet = device.ratchet
        self._changes.note_device(
            device.id,
            state=device.state,
            addresses=" ".join(device.addresses),
            in_dns=int(device.in_dns),
            serves=int(device.serving_since_s is not None),
        )
        changed = self._sql(
            "UPDATE device SET firmware = ?, state = ?, contribution = ?, source = ?, last_seen_s = ?, addresses = ?,"
            " served_sha256 = ?, unserved = ?, token_hash = ?, previous_hash = ?, last_txid = ?, last_resync_s = ?,"
            " cmd_seq = ?, thumbprint = ?, fingerprint = ?, policy = ?, tags = ?, retired = ?, in_dns = ?,"
            " serving_since_s = ?"
            " WHERE id = ? AND token_hash = ?",
            (
                device.firmware,
                device.state,
                device.contribution,
                device.source,
                device.last_seen_s,
                " ".join(device.addresses),
                device.served_sha256,
                device.unserved,
                ratchet.token_hash,
                ratchet.previous_hash,
                ratchet.last_txid,
                ratchet.last_resync_s,
                device.cmd_seq,
                device.thumbprint,
                ratchet.fingerprint,
                device.policy,
                " ".join(device.tags),
                device.retired,
                int(device.in_dns),
                device.serving_since_s,
                device.id,
                seen_token_hash,
            ),
        ).rowcount
        if changed != 1:
            raise Moved(f"device {device.id} was changed by another call at the same time")

    def set_state(self, device_id: str, state: DeviceState) -> None:
        """Move a device that another one's message says something about; its ratchet does not turn."""
        self._changes.note_state(device_id, state)
        self._sql("UPDATE device SET state = ? WHERE id = ?", (state, device_id))

    def count_unserved(self, device_id: str) -> None:
        """One more certificate that nobody has seen served yet: what the box serves is not the newest any more."""
        self._changes.note_not_serving(device_id)
        self._sql("UPDATE device SET unserved = unserved + 1, serving_since_s = NULL WHERE id = ?", (device_id,))

    def checkin_answer(self, device_id: str) -> bytes | None:
        """The sealed payload of the last check-in's answer."""
        row = self._sql("SELECT checkin_answer FROM device WHERE id = ?", (device_id,)).fetchone()
        return row[0] if row else None

    def remember_checkin(self, device_id: str, sealed_answer: bytes) -> None:
        self._sql("UPDATE device SET checkin_answer = ? WHERE id = ?", (sealed_answer, device_id))
