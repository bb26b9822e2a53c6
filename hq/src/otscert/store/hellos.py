"""Open transactions: one row per hello, until it expires."""

from __future__ import annotations

from dataclasses import dataclass

from otscert.store.connection import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class HelloRow:
    txid: str
    thumbprint: str
    model: str
    serial: str | None
    firmware: str
    fingerprint: str
    source: str
    canary: str
    boot: int
    label: str
    contribution: str
    unit: str | None
    keeps: str | None
    expected_point: bytes
    address: str
    device_id: str | None
    expires_at_s: int
    csr_sha256: bytes | None
    identity: str | None


_COLUMNS = (
    "txid, thumbprint, model, serial, firmware, fingerprint, source, canary, boot, label, contribution, unit, keeps,"
    " expected_point, address, device_id, expires_at_s, csr_sha256, identity"
)


class Hellos:
    def __init__(self, connection: Connection) -> None:
        self._sql = connection.execute

    def remember_d0(self, sha256: bytes, *, until_s: int) -> bool:
        """Note a D0; False when it is known already."""
        row = self._sql(
            "INSERT INTO seen_d0 (sha256, forget_at_s) VALUES (?, ?) ON CONFLICT (sha256) DO NOTHING RETURNING sha256",
            (sha256, until_s),
        ).fetchone()
        return row is not None

    def add(self, row: HelloRow) -> None:
        self._sql(
            f"INSERT INTO hello ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                row.txid,
                row.thumbprint,
                row.model,
                row.serial,
                row.firmware,
                row.fingerprint,
                row.source,
                row.canary,
                row.boot,
                row.label,
                row.contribution,
                row.unit,
                row.keeps,
                row.expected_point,
                row.address,
                row.device_id,
                row.expires_at_s,
                row.csr_sha256,
                row.identity,
            ),
        )

    def get(self, txid: str) -> HelloRow | None:
        row = self._sql(f"SELECT {_COLUMNS} FROM hello WHERE txid = ?", (txid,)).fetchone()
        return HelloRow(**dict(zip(HelloRow.__slots__, row, strict=True))) if row else None

    def enrolled(self, txid: str, *, csr_sha256: bytes, identity: str, expires_at_s: int) -> None:
        """Bind the transaction to its first valid CSR and identity key, and keep it: the box may have to ask again."""
        self._sql(
            "UPDATE hello SET csr_sha256 = ?, identity = ?, expires_at_s = ? WHERE txid = ?",
            (csr_sha256, identity, expires_at_s, txid),
        )

    def end_oldest(self, thumbprint: str, *, keep: int) -> None:
        """End the key's transactions that never enrolled but the newest `keep`, and free the names they reserved."""
        rows = self._sql(
            "SELECT txid FROM hello WHERE thumbprint = ? AND csr_sha256 IS NULL"
            " ORDER BY expires_at_s DESC, txid LIMIT 1000 OFFSET ?",
            (thumbprint, keep),
        ).fetchall()
        for (txid,) in rows:
            self.end(txid)

    def end(self, txid: str) -> None:
        """End one transaction and free the name that it reserved."""
        self._sql("DELETE FROM name WHERE device_id IS NULL AND txid = ?", (txid,))
        self._sql("DELETE FROM hello WHERE txid = ?", (txid,))

    def sweep_d0(self, *, now_s: int) -> int:
        """Forget D0s that were remembered until now; returns how many."""
        return self._sql("DELETE FROM seen_d0 WHERE forget_at_s < ?", (now_s,)).rowcount

    def sweep(self, *, now_s: int) -> int:
        """End what has expired and free the names it reserved; returns how many."""
        self._sql(
            "DELETE FROM name WHERE device_id IS NULL AND txid IN (SELECT txid FROM hello WHERE expires_at_s < ?)",
            (now_s,),
        )
        return self._sql("DELETE FROM hello WHERE expires_at_s < ?", (now_s,)).rowcount
