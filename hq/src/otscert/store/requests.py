"""Enrolments that wait: for a person with the pairing code, or for the maker's webhook."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from otscert.domain.admission import Answer
from otscert.store.connection import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmissionRequest:
    """A row; times are Unix seconds. `code_sealed` is opened by whoever answers the box."""

    txid: str
    thumbprint: str
    model: str
    serial: str | None
    firmware: str
    fingerprint: str
    label: str
    address: str
    asked_at_s: int
    seen_at_s: int
    approval: Answer
    decided_by: str
    code_hash: bytes | None
    code_sealed: bytes | None
    code_expires_at_s: int
    last_code_hash: bytes | None
    webhook: Answer
    webhook_policy: str
    webhook_reason: str
    webhook_tags: tuple[str, ...]
    webhook_attempt: int
    webhook_next_at_s: int


_NAMES = AdmissionRequest.__slots__
_COLUMNS = ", ".join(_NAMES)


def _request(row: tuple[Any, ...]) -> AdmissionRequest:
    values = dict(zip(_NAMES, row, strict=True))
    values["approval"], values["webhook"] = Answer(values["approval"]), Answer(values["webhook"])
    values["webhook_tags"] = tuple(values["webhook_tags"].split())
    return AdmissionRequest(**values)


def _row(request: AdmissionRequest) -> tuple[Any, ...]:
    changed = {
        "approval": request.approval.value,
        "webhook": request.webhook.value,
        "webhook_tags": " ".join(request.webhook_tags),
    }
    return tuple(changed.get(name, getattr(request, name)) for name in _NAMES)


class Requests:
    def __init__(self, connection: Connection) -> None:
        self._sql = connection.execute

    def get(self, txid: str) -> AdmissionRequest | None:
        row = self._sql(f"SELECT {_COLUMNS} FROM admission_request WHERE txid = ?", (txid,)).fetchone()
        return _request(row) if row else None

    def by_code(self, code_hash: bytes) -> AdmissionRequest | None:
        row = self._sql(f"SELECT {_COLUMNS} FROM admission_request WHERE code_hash = ?", (code_hash,)).fetchone()
        return _request(row) if row else None

    def by_last_code(self, code_hash: bytes) -> AdmissionRequest | None:
        """The request that had this code before: it shows another one by now, or the code was used."""
        row = self._sql(
            f"SELECT {_COLUMNS} FROM admission_request WHERE last_code_hash = ? LIMIT 1", (code_hash,)
        ).fetchone()
        return _request(row) if row else None

    def put(self, request: AdmissionRequest) -> None:
        """Write the request as a whole; the transaction that read it is the one that writes it."""
        marks = ", ".join("?" * len(_NAMES))
        changes = ", ".join(f"{name} = excluded.{name}" for name in _NAMES)
        self._sql(
            f"INSERT INTO admission_request ({_COLUMNS}) VALUES ({marks}) ON CONFLICT (txid) DO UPDATE SET {changes}",
            _row(request),
        )

    def end(self, txid: str) -> None:
        self._sql("DELETE FROM admission_request WHERE txid = ?", (txid,))

    def page(self, *, limit: int) -> list[AdmissionRequest]:
        """Those that are not refused, the one that asked first first."""
        rows = self._sql(
            f"SELECT {_COLUMNS} FROM admission_request WHERE approval <> 'no' AND webhook <> 'no'"
            " ORDER BY asked_at_s, txid LIMIT ?",
            (limit,),
        )
        return [_request(row) for row in rows]

    def of_unit(self, model: str, serial: str, *, unit: str) -> AdmissionRequest | None:
        """The newest enrolment whose hello was signed with this unit's factory key."""
        columns = ", ".join(f"admission_request.{name}" for name in _NAMES)
        row = self._sql(
            f"SELECT {columns} FROM admission_request JOIN hello ON hello.txid = admission_request.txid"
            " WHERE admission_request.serial = ? AND admission_request.model = ? AND hello.unit = ?"
            " ORDER BY admission_request.asked_at_s DESC LIMIT 1",
            (serial, model, unit),
        ).fetchone()
        return _request(row) if row else None

    def webhook_due(self, model: str, *, now_s: int, limit: int) -> list[AdmissionRequest]:
        """Those of one model whose webhook is to be asked now, the one that waits longest first."""
        rows = self._sql(
            f"SELECT {_COLUMNS} FROM admission_request WHERE webhook = 'waiting' AND model = ?"
            " AND webhook_next_at_s <= ? ORDER BY webhook_next_at_s LIMIT ?",
            (model, now_s, limit),
        )
        return [_request(row) for row in rows]

    def webhook_next_s(self, model: str, *, besides: Sequence[str]) -> int | None:
        """When the next of this model is due, without those that are being asked about; None for never."""
        marks = ", ".join("?" * len(besides))
        row = self._sql(
            "SELECT webhook_next_at_s FROM admission_request WHERE webhook = 'waiting' AND model = ?"
            f" AND txid NOT IN ({marks}) ORDER BY webhook_next_at_s LIMIT 1",
            (model, *besides),
        ).fetchone()
        return row[0] if row else None

    def oldest_of_unit(self, unit: str, *, besides: int) -> list[str]:
        """The `txid`s of the enrolments with this unit's factory key, but for the newest ones."""
        rows = self._sql(
            "SELECT hello.txid FROM hello JOIN admission_request ON admission_request.txid = hello.txid"
            " WHERE hello.thumbprint = ? ORDER BY admission_request.asked_at_s DESC, hello.txid LIMIT 1000 OFFSET ?",
            (unit, besides),
        )
        return [row[0] for row in rows]

    def sweep(self, *, seen_before_s: int, asked_before_s: int) -> int:
        """End requests whose box has stopped asking, and very old ones; returns how many."""
        silent = self._sql("DELETE FROM admission_request WHERE seen_at_s < ?", (seen_before_s,)).rowcount
        return silent + self._sql("DELETE FROM admission_request WHERE asked_at_s < ?", (asked_before_s,)).rowcount
