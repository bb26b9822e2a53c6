"""What somebody is told, as rows; and when alerting did what. Which rows there are, `domain.alert_news` decides."""

from __future__ import annotations

import json
from typing import Any

from otscert.domain.alert_news import Known
from otscert.domain.alerts import Alert, Kind, Severity
from otscert.store.connection import Connection

_COLUMNS = "kind, subject, severity, since_s, found_s, seen_s, facts, told_s, told_count, well_s, over_s, times"
_MOST = 10_000


class Alerts:
    def __init__(self, connection: Connection) -> None:
        self._sql = connection.execute

    def all(self) -> list[Known]:
        """Every row, by kind and subject. Kinds of a later release are left alone."""
        rows = self._sql(f"SELECT {_COLUMNS} FROM alert ORDER BY kind, subject LIMIT ?", (_MOST,))
        kinds = set(Kind)
        return [_known(row) for row in rows if row[0] in kinds]

    def put(self, known: Known) -> None:
        """Enter the row, or change it."""
        alert = known.alert
        facts = {
            "what": alert.what,
            "count": alert.count,
            "examples": list(alert.examples),
            "details": dict(alert.details),
        }
        self._sql(
            f"INSERT INTO alert ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (kind, subject) DO UPDATE SET severity = excluded.severity, since_s = excluded.since_s,"
            " found_s = excluded.found_s, seen_s = excluded.seen_s, facts = excluded.facts, told_s = excluded.told_s,"
            " told_count = excluded.told_count, well_s = excluded.well_s, over_s = excluded.over_s,"
            " times = excluded.times",
            (
                alert.kind,
                alert.subject,
                alert.severity.value,
                alert.since_s,
                known.found_s,
                known.seen_s,
                json.dumps(facts, separators=(",", ":")),
                known.told_s,
                known.told_count,
                known.well_s,
                known.over_s,
                known.times,
            ),
        )

    def forget(self, kind: str, subject: str) -> None:
        self._sql("DELETE FROM alert WHERE kind = ? AND subject = ?", (kind, subject))

    def done_s(self, name: str) -> int | None:
        """When alerting last did this; None: it never did."""
        row = self._sql("SELECT at_s FROM alerting WHERE name = ?", (name,)).fetchone()
        return None if row is None else int(row[0])

    def set_done(self, name: str, *, seen_s: int | None, at_s: int) -> bool:
        """Enter that it is done; False when another process was faster, and the row is not what was seen."""
        if seen_s is None:
            sql = "INSERT INTO alerting (name, at_s) VALUES (?, ?) ON CONFLICT DO NOTHING"
            return bool(self._sql(sql, (name, at_s)).rowcount)
        return bool(
            self._sql("UPDATE alerting SET at_s = ? WHERE name = ? AND at_s = ?", (at_s, name, seen_s)).rowcount
        )


def _known(row: Any) -> Known:
    facts = json.loads(row[6])
    alert = Alert(
        kind=row[0],
        subject=row[1],
        severity=Severity(row[2]),
        since_s=row[3],
        count=facts["count"],
        what=facts["what"],
        examples=tuple(facts["examples"]),
        details=facts["details"],
    )
    return Known(
        alert=alert,
        found_s=row[4],
        seen_s=row[5],
        told_s=row[7],
        told_count=row[8],
        well_s=row[9],
        over_s=row[10],
        times=row[11],
    )
