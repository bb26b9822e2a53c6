"""Counts over the whole store, for those who watch it. Each walks one index and no table.

At a million boxes some take a second, so they are not for the loop: `store.survey` runs them in a thread.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from otscert.store.connection import Connection

DAY_S = 24 * 3600
_ISSUED_LOOKED_AT = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceGroup:
    """So many devices that have all of this in common."""

    state: str
    model: str
    policy: str
    contribution: str
    in_dns: bool
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """How many wait, and since when the first of them (None when nobody does)."""

    count: int
    since_s: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DueGroup:
    """Boxes in good standing whose newest certificate is to be replaced.

    `calling`: the box did call lately. `standing`: due, late (half of the time that the rule leaves for it is gone)
    or lapsed.
    """

    calling: bool
    standing: str
    count: int
    since_s: int
    """When the first of them fell due."""


class Statistics:
    def __init__(self, connection: Connection) -> None:
        self._sql = connection.execute

    def devices(self) -> list[DeviceGroup]:
        rows = self._sql(
            "SELECT state, model, policy, contribution, in_dns, count(*) FROM device"
            " GROUP BY state, model, policy, contribution, in_dns"
        )
        return [
            DeviceGroup(
                state=row[0], model=row[1], policy=row[2], contribution=row[3], in_dns=bool(row[4]), count=row[5]
            )
            for row in rows
        ]

    def silent(self, *, seen_before_s: int) -> int:
        """How many whose names are in DNS did not call since."""
        return self._number("SELECT count(*) FROM device WHERE in_dns = 1 AND last_seen_s < ?", seen_before_s)

    def unserved(self) -> int:
        """How many active boxes get no more certificates because none of the last ones was seen served."""
        return self._number("SELECT count(*) FROM device WHERE unserved >= 2 AND state = 'active'")

    def orders(self) -> Mapping[str, Waiting]:
        """Unfinished orders by state."""
        rows = self._sql(
            "SELECT state, count(*), min(created_at_s) FROM cert_order WHERE state NOT IN ('issued', 'failed')"
            " GROUP BY state"
        )
        return {row[0]: Waiting(count=row[1], since_s=row[2]) for row in rows}

    def certificates(self, *, now_s: int) -> Mapping[bool, int]:
        """How many have not ended, by whether they were replaced."""
        rows = self._sql("SELECT replaced, count(*) FROM certificate WHERE not_after_s > ? GROUP BY replaced", (now_s,))
        return {bool(replaced): count for replaced, count in rows}

    def ending(self, *, now_s: int, within_s: int) -> int:
        """How many boxes have a newest certificate that ends between now and then."""
        return self._number(
            "SELECT count(*) FROM newest_certificate WHERE not_after_s > ? AND not_after_s <= ?",
            now_s,
            now_s + within_s,
        )

    def due(self, *, now_s: int, calling_since_s: int) -> list[DueGroup]:
        """Whose newest certificate is due, of the boxes that are in service and in DNS."""
        rows = self._sql(
            "SELECT CASE WHEN d.last_seen_s >= ? THEN 1 ELSE 0 END, CASE WHEN n.not_after_s <= ? THEN 'lapsed'"
            " WHEN n.late_s <= ? THEN 'late' ELSE 'due' END,"
            " count(*), min(n.due_s) FROM newest_certificate n CROSS JOIN device d WHERE d.id = n.device_id"
            " AND n.due_s <= ? AND d.state = 'active' AND d.in_dns = 1 GROUP BY 1, 2",
            (calling_since_s, now_s, now_s, now_s),
        )
        return [DueGroup(calling=bool(row[0]), standing=row[1], count=row[2], since_s=row[3]) for row in rows]

    def asked_persons(self) -> Waiting:
        """Boxes that wait for a person."""
        return self._waiting("SELECT count(*), min(asked_at_s) FROM admission_request WHERE approval = 'waiting'")

    def asked_webhooks(self) -> int:
        """Boxes that wait for a webhook."""
        return self._number("SELECT count(*) FROM admission_request WHERE webhook = 'waiting'")

    def revocations(self) -> Waiting:
        """Certificates that the CA has not revoked yet."""
        return self._waiting("SELECT count(*), min(asked_at_s) FROM revocation WHERE done_at_s IS NULL")

    def last_event(self) -> int:
        """The number of the last event; 0 when there was none."""
        return self._number("SELECT coalesce(max(id), 0) FROM event")

    def events(self, *, after_id: int, until_id: int) -> Mapping[str, int]:
        """How many events of each kind came after one, up to another."""
        rows = self._sql(
            "SELECT kind, count(*) FROM event WHERE id > ? AND id <= ? GROUP BY kind", (after_id, until_id)
        )
        return dict(rows.fetchall())

    def last_issued(self) -> Mapping[str, int]:
        """When the issuers of the last few certificates gave their last one."""
        rows = self._sql(
            "SELECT at_s, data FROM event WHERE kind = 'order.issued' ORDER BY id DESC LIMIT ?", (_ISSUED_LOOKED_AT,)
        )
        found: dict[str, int] = {}
        for at_s, data in rows:
            found.setdefault(json.loads(data)["issuer"], at_s)
        return found

    def _number(self, sql: str, *values: int) -> int:
        return int(self._sql(sql, values).fetchone()[0])

    def _waiting(self, sql: str) -> Waiting:
        count, since_s = self._sql(sql).fetchone()
        return Waiting(count=count, since_s=since_s)
