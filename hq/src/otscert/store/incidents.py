"""Incidents as rows, and the marks that they leave on certificates (`certificate.recall`).

A mark stands while its certificate is still to be replaced, so what an incident waits for is found by an index.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from otscert.domain.recall import Candidate
from otscert.store.connection import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """Times are Unix seconds; `filter` is a text of `domain.recall.to_json`."""

    id: str
    reason: str
    filter: str
    revoke_reason: int | None
    """CRLReason for what was replaced; None: it is left to end by itself."""
    started_s: int
    place: str = ""
    """How far the fleet was looked through: a device id, a serial number or a certificate, as the selection asks."""
    marked_s: int | None = None
    """When all of it was looked through."""
    count: int = 0
    """Certificates that it marked."""
    idle: int = 0
    """Certificates that fit but that no box uses any more: at most revoked."""
    replaced: int = 0
    released: int = 0
    """Marked ones that ended by themselves or with their box, or that a later incident took over."""
    ended_s: int | None = None

    @property
    def left(self) -> int:
        """Marked ones that are still to be replaced."""
        return max(0, self.count - self.replaced - self.released)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A certificate that has not ended, with what decides whether an incident concerns it."""

    candidate: Candidate
    device_id: str
    serial: str
    not_after_s: int
    recall: str | None
    current: bool
    """Whether its box uses it, or would: it is the newest one of the identity, or the one that is served."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Marked:
    """A marked certificate and how its box is doing."""

    sha256: str
    device_id: str
    label: str
    model: str
    issuer: str
    not_after_s: int
    over: bool
    """The identity of the certificate is over, or its box was retired."""
    replaced: bool
    """The box serves its newest certificate, which is another one and not recalled itself."""
    last_seen_s: int
    in_dns: bool
    state: str
    unserved: int
    ordering: bool
    last_order: str | None
    """The state of the box's last order."""
    last_order_s: int
    """When that was made; 0 without one."""


_MOST_RUNNING = 1000
_NAMES = Incident.__slots__
_COLUMNS = ", ".join(_NAMES)
_FOUND = (
    "SELECT c.sha256, c.device_id, c.serial, c.issuer, d.model, c.spki_sha256, c.issued_at_s, c.not_after_s, c.recall,"
    " c.replaced, d.served_sha256, n.issued_at_s, n.not_after_s"
    " FROM certificate c JOIN device d ON d.id = c.device_id"
    " LEFT JOIN newest_certificate n ON n.device_id = c.device_id"
)


def _incident(row: tuple[Any, ...]) -> Incident:
    return Incident(**dict(zip(_NAMES, row, strict=True)))


def _found(row: tuple[Any, ...]) -> Found:
    newest = row[9] == 0 and (row[6], row[7]) == (row[11], row[12])
    return Found(
        candidate=Candidate(sha256=row[0], issuer=row[3], model=row[4], key=bytes(row[5]), issued_at_s=row[6]),
        device_id=row[1],
        serial=row[2],
        not_after_s=row[7],
        recall=row[8],
        current=row[9] == 0 and (newest or row[10] == row[0]),
    )


class Incidents:
    def __init__(self, connection: Connection) -> None:
        self._sql = connection.execute

    def add(self, incident: Incident) -> None:
        self._sql(
            f"INSERT INTO incident ({_COLUMNS}) VALUES ({', '.join('?' * len(_NAMES))})",
            tuple(getattr(incident, name) for name in _NAMES),
        )

    def get(self, incident_id: str) -> Incident | None:
        row = self._sql(f"SELECT {_COLUMNS} FROM incident WHERE id = ?", (incident_id,)).fetchone()
        return _incident(row) if row else None

    def running(self) -> list[Incident]:
        """Those that have not ended, the oldest first."""
        rows = self._sql(
            f"SELECT {_COLUMNS} FROM incident WHERE ended_s IS NULL ORDER BY started_s, id LIMIT ?", (_MOST_RUNNING,)
        )
        return [_incident(row) for row in rows]

    def page(self, *, limit: int) -> list[Incident]:
        """The last ones, the newest first."""
        rows = self._sql(f"SELECT {_COLUMNS} FROM incident ORDER BY started_s DESC, id DESC LIMIT ?", (limit,))
        return [_incident(row) for row in rows]

    def looked_through(self, incident_id: str, *, place: str, marked: int, idle: int, all_s: int | None) -> None:
        """Count what was marked up to this place; `all_s`: when nothing was left to look through."""
        self._sql(
            "UPDATE incident SET place = ?, count = count + ?, idle = idle + ?, marked_s = ? WHERE id = ?",
            (place, marked, idle, all_s, incident_id),
        )

    def look_again(self, incident_id: str) -> None:
        """Go through the fleet from its beginning; what is marked already is not marked twice."""
        self._sql("UPDATE incident SET place = '', marked_s = NULL, idle = 0 WHERE id = ?", (incident_id,))

    def end(self, incident_id: str, *, now_s: int) -> bool:
        """False when it had ended before."""
        return (
            self._sql("UPDATE incident SET ended_s = ? WHERE id = ? AND ended_s IS NULL", (now_s, incident_id)).rowcount
            == 1
        )

    # ---- the fleet, looked through in pages

    def of_devices(self, *, after_id: str, model: str | None, now_s: int, limit: int) -> tuple[list[Found], str | None]:
        """Valid certificates of the next `limit` devices, and the last of these; None when there are no more."""
        only = "" if model is None else " AND model = ?"
        values: tuple[Any, ...] = (after_id, limit) if model is None else (after_id, model, limit)
        rows = self._sql(f"SELECT id FROM device WHERE id > ?{only} ORDER BY id LIMIT ?", values).fetchall()
        ids = [row[0] for row in rows]
        if not ids:
            return [], None
        marks = ", ".join("?" * len(ids))
        found = self._sql(
            f"{_FOUND} WHERE c.device_id IN ({marks}) AND c.not_after_s > ? ORDER BY c.device_id, c.issued_at_s",
            (*ids, now_s),
        )
        return [_found(row) for row in found], ids[-1]

    def devices(self, model: str | None) -> int:
        """How many devices there are to look through."""
        if model is None:
            return int(self._sql("SELECT count(*) FROM device").fetchone()[0])
        return int(self._sql("SELECT count(*) FROM device WHERE model = ?", (model,)).fetchone()[0])

    def of_serials(self, serials: Sequence[str], *, now_s: int) -> list[Found]:
        """Valid certificates with these serial numbers: of several CAs, one number may be of several certificates."""
        marks = ", ".join("?" * len(serials))
        rows = self._sql(
            f"{_FOUND} WHERE c.serial IN ({marks}) AND c.not_after_s > ? ORDER BY c.serial", (*serials, now_s)
        )
        return [_found(row) for row in rows]

    def of_key(self, spki_sha256: bytes, *, now_s: int) -> list[Found]:
        """Valid certificates for this key: a few, since no box may use another one's."""
        rows = self._sql(
            f"{_FOUND} WHERE c.spki_sha256 = ? AND c.not_after_s > ? ORDER BY c.sha256", (spki_sha256, now_s)
        )
        return [_found(row) for row in rows]

    def of_certificate(self, sha256: str) -> Found | None:
        """The certificate, ended or not."""
        row = self._sql(f"{_FOUND} WHERE c.sha256 = ?", (sha256,)).fetchone()
        return _found(row) if row else None

    # ---- marks

    def mark(self, sha256: str, incident_id: str) -> None:
        self._sql("UPDATE certificate SET recall = ? WHERE sha256 = ?", (incident_id, sha256))

    def replaced(self, sha256: str, incident_id: str) -> bool:
        """Its box serves a newer one: take the mark away and count it; False when the mark was gone."""
        return self._unmark("replaced", sha256, incident_id)

    def released(self, sha256: str, incident_id: str) -> bool:
        """The incident waits for it no longer: take the mark away and count it; False when the mark was gone."""
        return self._unmark("released", sha256, incident_id)

    def _unmark(self, column: str, sha256: str, incident_id: str) -> bool:
        changed = self._sql(
            "UPDATE certificate SET recall = NULL WHERE sha256 = ? AND recall = ?", (sha256, incident_id)
        ).rowcount
        if changed == 1:
            self._sql(f"UPDATE incident SET {column} = {column} + 1 WHERE id = ?", (incident_id,))
        return changed == 1

    def forget_mark(self, sha256: str) -> None:
        """Take the mark of an incident away that has ended; it counts as what was left."""
        self._sql("UPDATE certificate SET recall = NULL WHERE sha256 = ?", (sha256,))

    def with_marks(self) -> list[str]:
        """The ids of incidents that have left marks: a few, whatever the number of marks."""
        found: list[str] = []
        while True:
            row = self._sql(
                "SELECT recall FROM certificate WHERE recall IS NOT NULL AND recall > ? ORDER BY recall LIMIT 1",
                (found[-1] if found else "",),
            ).fetchone()
            if row is None:
                return found
            found.append(row[0])

    def marked_of(self, device_id: str) -> list[tuple[str, str]]:
        """Fingerprint and incident of each marked certificate of a device."""
        rows = self._sql(
            "SELECT sha256, recall FROM certificate WHERE device_id = ? AND recall IS NOT NULL"
            " ORDER BY issued_at_s, sha256",
            (device_id,),
        )
        return [(row[0], row[1]) for row in rows]

    def marked(self, incident_id: str, *, after: tuple[str, str], limit: int) -> list[Marked]:
        """The next marked certificates after this device id and fingerprint, in their order."""
        rows = self._sql(
            "SELECT c.sha256, c.device_id, d.label, d.model, c.not_after_s, c.replaced, d.served_sha256, n.issued_at_s,"
            " n.not_after_s, d.last_seen_s, d.in_dns, d.state, d.unserved,"
            " (SELECT 1 FROM cert_order o WHERE o.device_id = c.device_id AND o.state NOT IN ('issued', 'failed')"
            "  LIMIT 1),"
            " (SELECT o.state FROM cert_order o WHERE o.device_id = c.device_id"
            "  ORDER BY o.created_at_s DESC, o.id DESC LIMIT 1),"
            " (SELECT max(o.created_at_s) FROM cert_order o WHERE o.device_id = c.device_id),"
            " s.issued_at_s, s.not_after_s, s.recall, c.issuer"
            " FROM certificate c JOIN device d ON d.id = c.device_id"
            " LEFT JOIN newest_certificate n ON n.device_id = c.device_id"
            " LEFT JOIN certificate s ON s.sha256 = d.served_sha256 AND s.device_id = d.id"
            " WHERE c.recall = ? AND (c.device_id, c.sha256) > (?, ?) ORDER BY c.device_id, c.sha256 LIMIT ?",
            (incident_id, *after, limit),
        )
        return [
            Marked(
                sha256=row[0],
                device_id=row[1],
                label=row[2],
                model=row[3],
                issuer=row[19],
                not_after_s=row[4],
                over=bool(row[5]) or row[11] == "retired",
                replaced=row[6] not in {None, row[0]} and row[18] is None and (row[16], row[17]) == (row[7], row[8]),
                last_seen_s=row[9],
                in_dns=bool(row[10]),
                state=row[11],
                unserved=row[12],
                ordering=row[13] is not None,
                last_order=row[14],
                last_order_s=row[15] or 0,
            )
            for row in rows
        ]
