"""Device keys with their `seq`, and the index of every key ever verified."""

from __future__ import annotations

from dataclasses import dataclass

from otscert.domain.key_index import KeyIndex
from otscert.store.connection import Connection
from otscert.store.errors import AlreadyThere


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceKey:
    thumbprint: str
    alg: str
    raw: bytes
    device_id: str | None
    last_seq: int
    last_digest: bytes
    last_answer: bytes | None
    """Sealed; opened by whoever answers."""


class DeviceKeys:
    def __init__(self, connection: Connection) -> None:
        self._sql = connection.execute
        self._integrity_error = connection.IntegrityError

    def get(self, thumbprint: str) -> DeviceKey | None:
        row = self._sql(
            "SELECT thumbprint, alg, raw, device_id, last_seq, last_digest, last_answer"
            " FROM device_key WHERE thumbprint = ?",
            (thumbprint,),
        ).fetchone()
        if row is None:
            return None
        return DeviceKey(
            thumbprint=row[0],
            alg=row[1],
            raw=row[2],
            device_id=row[3],
            last_seq=row[4],
            last_digest=row[5],
            last_answer=row[6],
        )

    def record(
        self, thumbprint: str, *, alg: str, raw: bytes, seq: int, digest: bytes, answer: bytes | None, now_s: int
    ) -> None:
        """Store the key on first sight, and the message that was just accepted with its sealed answer."""
        self._sql(
            "INSERT INTO device_key (thumbprint, alg, raw, last_seq, last_digest, last_answer, created_at_s)"
            " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (thumbprint) DO UPDATE SET"
            " last_seq = excluded.last_seq, last_digest = excluded.last_digest, last_answer = excluded.last_answer",
            (thumbprint, alg, raw, seq, digest, answer, now_s),
        )

    def bind(self, thumbprint: str, device_id: str) -> None:
        self._sql("UPDATE device_key SET device_id = ? WHERE thumbprint = ?", (device_id, thumbprint))

    def sweep(self, *, created_before_s: int) -> int:
        """Forget keys that never became a device; returns how many."""
        return self._sql(
            "DELETE FROM device_key WHERE device_id IS NULL AND created_at_s < ?"
            " AND NOT EXISTS (SELECT 1 FROM hello WHERE hello.thumbprint = device_key.thumbprint)"
            " AND NOT EXISTS (SELECT 1 FROM admission_request AS asked WHERE asked.thumbprint = device_key.thumbprint)",
            (created_before_s,),
        ).rowcount


class VerifiedKeys:
    """Unique over SHA-256(SPKI) and over the x coordinate (d and n-d share it), across every device for ever."""

    def __init__(self, connection: Connection) -> None:
        self._sql = connection.execute
        self._integrity_error = connection.IntegrityError

    def add(
        self,
        index: KeyIndex,
        *,
        device_id: str,
        kind: str,
        contribution: str,
        source: str,
        now_s: int,
    ) -> None:
        """Enter a key whose possession and contribution were verified; raise `AlreadyThere` for a duplicate."""
        try:
            self._sql(
                "INSERT INTO verified_key"
                " (spki_sha256, x_coordinate, device_id, kind, contribution, source, seen_at_s)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (index.spki_sha256, index.x_coordinate, device_id, kind, contribution, source, now_s),
            )
        except self._integrity_error as error:
            raise AlreadyThere("verified_key") from error

    def compromise(self, spki_sha256: bytes, *, now_s: int) -> bool:
        """Note that others have this key; nobody can use it again, as no key comes twice. False: noted before."""
        changed = self._sql(
            "UPDATE verified_key SET compromised_s = ? WHERE spki_sha256 = ? AND compromised_s IS NULL",
            (now_s, spki_sha256),
        ).rowcount
        return changed == 1

    def compromised(self, index: KeyIndex) -> bool:
        """Whether this key, or one that whoever has it knows too, is known to others."""
        row = self._sql(
            "SELECT 1 FROM verified_key WHERE (spki_sha256 = ? OR x_coordinate = ?) AND compromised_s IS NOT NULL",
            (index.spki_sha256, index.x_coordinate),
        ).fetchone()
        return row is not None

    def holder(self, index: KeyIndex) -> str | None:
        """The id of the device that showed this key first, or None."""
        row = self._sql(
            "SELECT device_id FROM verified_key WHERE spki_sha256 = ? OR x_coordinate = ?",
            (index.spki_sha256, index.x_coordinate),
        ).fetchone()
        return row[0] if row else None
