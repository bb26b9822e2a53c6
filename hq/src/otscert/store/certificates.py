"""Certificates as rows, chains included: what was issued is never asked of the CA again."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """Times are Unix seconds; `sha256` (hex) names the leaf. `replaced`: of an identity that is over."""

    sha256: str
    device_id: str
    order_id: str
    issuer: str
    serial: str
    spki_sha256: bytes
    not_before_s: int
    not_after_s: int
    chain_pem: str
    issued_at_s: int
    served_at_s: int | None
    replaced: bool = False


_COLUMNS = (
    "sha256, device_id, order_id, issuer, serial, spki_sha256, not_before_s, not_after_s, chain_pem, issued_at_s,"
    " served_at_s, replaced"
)


def _certificate(row: tuple[Any, ...]) -> Certificate:
    values = dict(zip(Certificate.__slots__, row, strict=True))
    return Certificate(**{**values, "replaced": bool(values["replaced"])})


class Certificates:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._sql = connection.execute

    def add(self, certificate: Certificate) -> None:
        self._sql(
            f"INSERT INTO certificate ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            tuple(getattr(certificate, column) for column in Certificate.__slots__),
        )

    def get(self, sha256: str) -> Certificate | None:
        row = self._sql(f"SELECT {_COLUMNS} FROM certificate WHERE sha256 = ?", (sha256,)).fetchone()
        return _certificate(row) if row else None

    def newest(self, device_id: str) -> Certificate | None:
        """The newest one of the identity that the device has now."""
        row = self._sql(
            f"SELECT {_COLUMNS} FROM certificate WHERE device_id = ? AND replaced = 0"
            " ORDER BY issued_at_s DESC, not_after_s DESC LIMIT 1",
            (device_id,),
        ).fetchone()
        return _certificate(row) if row else None

    def replace_all(self, device_id: str) -> list[Certificate]:
        """The device's identity is over: none of its certificates counts any more; returns them."""
        rows = self._sql(
            f"UPDATE certificate SET replaced = 1 WHERE device_id = ? AND replaced = 0 RETURNING {_COLUMNS}",
            (device_id,),
        )
        return [_certificate(row) for row in rows]

    def count(self, device_id: str) -> int:
        """How many the identity has had that the device has now."""
        row = self._sql(
            "SELECT count(*) FROM certificate WHERE device_id = ? AND replaced = 0", (device_id,)
        ).fetchone()
        return int(row[0])

    def of_device(self, sha256: str | None, *, device_id: str) -> Certificate | None:
        """The certificate, when it is one of this device."""
        certificate = self.get(sha256) if sha256 is not None else None
        return certificate if certificate is not None and certificate.device_id == device_id else None

    def seen_served(self, sha256: str, *, device_id: str, now_s: int) -> bool:
        """Note that the device's web server presents this certificate; False when it is not one of its own."""
        return (
            self._sql(
                "UPDATE certificate SET served_at_s = coalesce(served_at_s, ?) WHERE sha256 = ? AND device_id = ?",
                (now_s, sha256, device_id),
            ).rowcount
            == 1
        )
