"""Certificates as rows, chains included: what was issued is never asked of the CA again."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from otscert.domain.renewal import Window
from otscert.store import chains, newest
from otscert.store.connection import Connection


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
    ari_next_poll_s: int | None = None
    """When the CA is asked for its window (RFC 9773); None: not any more."""
    ari_start_s: int | None = None
    ari_end_s: int | None = None
    ari_told_s: int | None = None
    renew_at_s: int | None = None
    ari_explanation: str | None = None
    recall: str | None = None
    """The incident for which an operator wants it replaced now."""

    @property
    def window(self) -> Window | None:
        """What the CA suggests, with our moment in it; None until it did."""
        if None in (members := (self.ari_start_s, self.ari_end_s, self.ari_told_s, self.renew_at_s)):
            return None
        start_s, end_s, told_s, at_s = (int(each or 0) for each in members)
        return Window(start_s=start_s, end_s=end_s, told_s=told_s, at_s=at_s)


REMEMBERED_S = 90 * 24 * 3600
"""How long a certificate is remembered after its end, with its order."""
_NAMES = Certificate.__slots__
# In the place of the chain stand the leaf and, by its digest, what follows it.
_STORED = ", ".join("leaf, issuers" if name == "chain_pem" else name for name in _NAMES)
_COLUMNS = ", ".join("c.leaf, i.pem" if name == "chain_pem" else f"c.{name}" for name in _NAMES)
_FROM = "certificate c JOIN issuer_chain i ON i.sha256 = c.issuers"
_CHAIN = _NAMES.index("chain_pem")


def _certificate(row: tuple[Any, ...]) -> Certificate:
    chain_pem = chains.join(row[_CHAIN], row[_CHAIN + 1])
    values = dict(zip(_NAMES, (*row[:_CHAIN], chain_pem, *row[_CHAIN + 2 :]), strict=True))
    return Certificate(**{**values, "replaced": bool(values["replaced"])})


class Certificates:
    def __init__(self, connection: Connection) -> None:
        self._sql = connection.execute

    def add(self, certificate: Certificate) -> None:
        """Enter a new one; what ended long ago of the same device is forgotten with its order."""
        self._forget(certificate.device_id, ended_before_s=certificate.issued_at_s - REMEMBERED_S)
        members = {name: getattr(certificate, name) for name in _NAMES}
        members["replaced"] = int(certificate.replaced)
        values = list(members.values())
        values[_CHAIN : _CHAIN + 1] = chains.split(self._sql, certificate.chain_pem)
        self._sql(f"INSERT INTO certificate ({_STORED}) VALUES ({', '.join('?' * len(values))})", values)
        if not certificate.replaced:
            newest.enter(
                self._sql,
                certificate.device_id,
                issued_at_s=certificate.issued_at_s,
                not_before_s=certificate.not_before_s,
                not_after_s=certificate.not_after_s,
            )

    def _forget(self, device_id: str, *, ended_before_s: int) -> None:
        """So a device's rows do not grow with its years. The one before stays: a device's first one is known by it."""
        rows = self._sql(
            "SELECT sha256, order_id FROM certificate WHERE device_id = ? AND not_after_s < ?"
            " ORDER BY issued_at_s DESC, not_after_s DESC",
            (device_id, ended_before_s),
        ).fetchall()
        for sha256, order_id in rows[1:]:
            self._sql("DELETE FROM revocation WHERE certificate_sha256 = ?", (sha256,))
            self._sql("DELETE FROM certificate WHERE sha256 = ?", (sha256,))
            self._sql("DELETE FROM cert_order WHERE id = ?", (order_id,))
        self._sql(
            "DELETE FROM cert_order WHERE device_id = ? AND created_at_s < ? AND state = 'failed'",
            (device_id, ended_before_s),
        )

    def get(self, sha256: str) -> Certificate | None:
        row = self._sql(f"SELECT {_COLUMNS} FROM {_FROM} WHERE c.sha256 = ?", (sha256,)).fetchone()
        return _certificate(row) if row else None

    def beginning(self, prefix: str, *, limit: int) -> list[Certificate]:
        """Those whose `sha256` begins with these hex digits."""
        rows = self._sql(
            f"SELECT {_COLUMNS} FROM {_FROM} WHERE c.sha256 >= ? AND c.sha256 < ? ORDER BY c.sha256 LIMIT ?",
            (prefix, prefix + "g", limit),
        )
        return [_certificate(row) for row in rows]

    def newest(self, device_id: str) -> Certificate | None:
        """The newest one of the identity that the device has now."""
        row = self._sql(
            f"SELECT {_COLUMNS} FROM {_FROM} WHERE c.device_id = ? AND c.replaced = 0"
            " ORDER BY c.issued_at_s DESC, c.not_after_s DESC LIMIT 1",
            (device_id,),
        ).fetchone()
        return _certificate(row) if row else None

    def last(self, device_id: str) -> Certificate | None:
        """The newest one that the device ever had, of an identity that is over, too."""
        row = self._sql(
            f"SELECT {_COLUMNS} FROM {_FROM} WHERE c.device_id = ?"
            " ORDER BY c.issued_at_s DESC, c.not_after_s DESC LIMIT 1",
            (device_id,),
        ).fetchone()
        return _certificate(row) if row else None

    def replace_all(self, device_id: str) -> list[Certificate]:
        """The device's identity is over: none of its certificates counts any more; returns them."""
        rows = self._sql(
            f"SELECT {_COLUMNS} FROM {_FROM} WHERE c.device_id = ? AND c.replaced = 0 ORDER BY c.issued_at_s",
            (device_id,),
        ).fetchall()
        self._sql("UPDATE certificate SET replaced = 1 WHERE device_id = ? AND replaced = 0", (device_id,))
        newest.leave(self._sql, device_id)
        return [replace(_certificate(row), replaced=True) for row in rows]

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

    def ending(self, *, from_s: int, after: Certificate | None, limit: int) -> list[Certificate]:
        """Those that end after a moment, the next one to end first; `after` is the last one of the page before."""
        start = (from_s, "~") if after is None else (after.not_after_s, after.sha256)
        rows = self._sql(
            f"SELECT {_COLUMNS} FROM {_FROM} WHERE (c.not_after_s, c.sha256) > (?, ?)"
            " ORDER BY c.not_after_s, c.sha256 LIMIT ?",
            (*start, limit),
        )
        return [_certificate(row) for row in rows]

    def all_of(self, device_id: str, *, limit: int) -> list[Certificate]:
        """All that the device had, of identities that are over, too; the newest first."""
        rows = self._sql(
            f"SELECT {_COLUMNS} FROM {_FROM} WHERE c.device_id = ?"
            " ORDER BY c.issued_at_s DESC, c.not_after_s DESC LIMIT ?",
            (device_id, limit),
        )
        return [_certificate(row) for row in rows]

    def came_late(self, *, after: tuple[int, str], until_s: int, limit: int) -> list[tuple[int, str]]:
        """When the newest certificates came to be late, and of which device: the next after these, in their order."""
        rows = self._sql(
            "SELECT late_s, device_id FROM newest_certificate WHERE (late_s, device_id) > (?, ?) AND late_s <= ?"
            " ORDER BY late_s, device_id LIMIT ?",
            (*after, until_s, limit),
        )
        return [(row[0], row[1]) for row in rows]

    def ari_due(self, *, now_s: int, limit: int) -> list[Certificate]:
        """Certificates for which the CA is to be asked for its window, the longest waiting first."""
        rows = self._sql(
            f"SELECT {_COLUMNS} FROM {_FROM} WHERE c.ari_next_poll_s <= ? ORDER BY c.ari_next_poll_s LIMIT ?",
            (now_s, limit),
        )
        return [_certificate(row) for row in rows]

    def ari_claim(self, seen: Certificate, *, next_poll_s: int | None) -> bool:
        """Move the next question; False when somebody else has since the certificate was read."""
        return (
            self._sql(
                "UPDATE certificate SET ari_next_poll_s = ? WHERE sha256 = ? AND ari_next_poll_s = ?",
                (next_poll_s, seen.sha256, seen.ari_next_poll_s),
            ).rowcount
            == 1
        )

    def ari_told(self, sha256: str, window: Window, *, explanation: str | None, next_poll_s: int) -> None:
        """Keep what the CA suggests and our moment in it."""
        self._sql(
            "UPDATE certificate SET ari_start_s = ?, ari_end_s = ?, ari_told_s = ?, renew_at_s = ?,"
            " ari_explanation = ?, ari_next_poll_s = ? WHERE sha256 = ?",
            (window.start_s, window.end_s, window.told_s, window.at_s, explanation, next_poll_s, sha256),
        )
        certificate = self.get(sha256)
        if certificate is not None:
            newest.told(
                self._sql,
                certificate.device_id,
                window,
                issued_at_s=certificate.issued_at_s,
                not_before_s=certificate.not_before_s,
                not_after_s=certificate.not_after_s,
            )

    def ari_ask_at(self, sha256: str, *, next_poll_s: int) -> None:
        """Ask the CA then, whatever was planned; what it suggested before stays."""
        self._sql("UPDATE certificate SET ari_next_poll_s = ? WHERE sha256 = ?", (next_poll_s, sha256))

    def ari_strayed(self, *, from_s: int) -> bool:
        """Whether a next question would wait until `from_s` or longer."""
        row = self._sql("SELECT 1 FROM certificate WHERE ari_next_poll_s >= ? LIMIT 1", (from_s,)).fetchone()
        return row is not None

    def ari_bring_back(self, *, from_s: int, now_s: int) -> int:
        """Ask now where the next question would wait until `from_s` or longer; returns how many."""
        return self._sql(
            "UPDATE certificate SET ari_next_poll_s = ? WHERE ari_next_poll_s >= ?", (now_s, from_s)
        ).rowcount
