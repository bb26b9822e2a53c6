"""The zone's CAA and `_validation-persist` records as each issuer's account wants them.

They stand in DNS before a CA has answered again.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from otscert.store.connection import Connection
from otscert.store.zone_changes import TOP, ZoneChanges


class CaaRecords:
    def __init__(self, connection: Connection, changes: ZoneChanges) -> None:
        self._sql = connection.execute
        self._changes = changes

    def put(self, issuer: str, values: Sequence[str]) -> None:
        """Have exactly these values of CAA `issue` properties for an issuer."""
        if sorted(values) == self._of(issuer):
            return
        self._sql("DELETE FROM caa_record WHERE issuer = ?", (issuer,))
        for value in dict.fromkeys(values):
            self._sql("INSERT INTO caa_record (issuer, value) VALUES (?, ?)", (issuer, value))
        self._changes.note(TOP)

    def of(self, issuers: Collection[str]) -> list[str]:
        """The values for these issuers; what was written for others counts no more.

        None at all while one of them does not say what it is called (the value ""): the records of the others would
        forbid it to issue.
        """
        values = {value for issuer in issuers for value in self._of(issuer)}
        return [] if "" in values else sorted(values)

    def values_of(self, issuer: str) -> list[str]:
        """The values for one issuer; "" stands for a CA that does not say what it is called."""
        return self._of(issuer)

    def _of(self, issuer: str) -> list[str]:
        rows = self._sql("SELECT value FROM caa_record WHERE issuer = ? ORDER BY value", (issuer,))
        return [row[0] for row in rows]


class PersistRecords:
    """What stands at `_validation-persist` below every box: the accounts that may always have certificates for it."""

    def __init__(self, connection: Connection, changes: ZoneChanges) -> None:
        self._sql = connection.execute
        self._changes = changes

    def put(self, issuer: str, values: Sequence[str]) -> None:
        """Have exactly these TXT values for an issuer; none where it is not to use them."""
        if sorted(values) == self._of(issuer):
            return
        self._sql("DELETE FROM persist_record WHERE issuer = ?", (issuer,))
        for value in dict.fromkeys(values):
            self._sql("INSERT INTO persist_record (issuer, value) VALUES (?, ?)", (issuer, value))
        self._changes.note(TOP)

    def of(self, issuers: Collection[str]) -> list[str]:
        """The values for these issuers; what was written for others counts no more."""
        return sorted({value for issuer in issuers for value in self._of(issuer)})

    def _of(self, issuer: str) -> list[str]:
        rows = self._sql("SELECT value FROM persist_record WHERE issuer = ? ORDER BY value", (issuer,))
        return [row[0] for row in rows]
