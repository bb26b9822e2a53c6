"""What alerting asks of the store: how many have a trouble, since when, and a few by name.

Each count walks an index, and reads rows only of those concerned. Meant for a survey, beside the loop. What of it is
bad enough to tell somebody is `domain.alert_rules`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from otscert.domain.alert_facts import Some
from otscert.domain.budget import Rank
from otscert.store.connection import Connection

_EXAMPLES = 3
_URGENT = (Rank.EXPIRING,)
_UNFINISHED = "state NOT IN ('issued', 'failed')"
# `coalesce` keeps SQLite from walking all boxes: those whose certificate is late, or whose order is old, are few.
_IN_SERVICE = " AND coalesce(d.state, '') = 'active' AND coalesce(d.in_dns, 0) = 1"
_LAST_SEEN = "coalesce(d.last_seen_s, 0)"
_RENEWAL = (
    f" FROM newest_certificate n JOIN device d ON d.id = n.device_id WHERE n.due_s <= ? AND n.late_s <= ?{_IN_SERVICE}"
)
_NOT_JUST_ORDERED = (
    f" AND d.unserved < 2 AND {_LAST_SEEN} >= ? AND NOT EXISTS (SELECT 1 FROM cert_order o"
    f" WHERE o.device_id = d.id AND o.created_at_s > ? AND o.{_UNFINISHED})"
)
_OTHER_SERVED = (
    " FROM device d JOIN newest_certificate n ON n.device_id = d.id WHERE d.unserved = 1 AND d.state = 'active'"
    " AND d.in_dns = 1 AND n.issued_at_s <= ? AND d.last_seen_s >= n.issued_at_s + ?"
)
_UNATTENDED = (
    f" FROM cert_order WHERE {_UNFINISHED} AND waits_for IS NULL AND next_at_s <= ?"
    " AND (lease_by IS NULL OR lease_until_s <= ?)"
)
_OLD = (
    " FROM cert_order o JOIN device d ON d.id = o.device_id"
    f" WHERE o.{_UNFINISHED} AND o.waits_for IS NULL AND o.created_at_s <= ?{_IN_SERVICE}"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketWaiters:
    """Orders that wait for the refill of a bucket."""

    bucket: str
    count: int
    urgent: int
    since_s: int


class Trouble:
    def __init__(self, connection: Connection) -> None:
        self._sql = connection.execute

    def late(self, *, now_s: int, calling_since_s: int, ordered_before_s: int) -> Some:
        """Boxes that call and may order, whose certificate is late but has not ended; none with a fresh order."""
        where = f"{_RENEWAL}{_NOT_JUST_ORDERED} AND n.not_after_s > ?"
        values = (now_s, now_s, calling_since_s, ordered_before_s, now_s)
        return self._some("min(n.late_s)", where, values, name="d.label", by="n.not_after_s, d.label")

    def lapsed(self, *, now_s: int, calling_since_s: int, ordered_before_s: int) -> Some:
        """The same, but it has ended."""
        where = f"{_RENEWAL}{_NOT_JUST_ORDERED} AND n.not_after_s <= ?"
        values = (now_s, now_s, calling_since_s, ordered_before_s, now_s)
        return self._some("min(n.not_after_s)", where, values, name="d.label", by="n.not_after_s, d.label")

    def away(self, *, now_s: int, calling_since_s: int) -> Some:
        """Boxes that did not call since, whose certificate is late but has not ended."""
        where = f"{_RENEWAL} AND {_LAST_SEEN} < ? AND n.not_after_s > ?"
        values = (now_s, now_s, calling_since_s, now_s)
        return self._some("min(n.late_s)", where, values, name="d.label", by="n.not_after_s, d.label")

    def not_served(self, *, issued_before_s: int, called_after_s: int) -> Some:
        """Boxes that called so many seconds after their newest certificate was issued, and do not serve it."""
        values = (issued_before_s, called_after_s)
        return self._some("min(n.issued_at_s)", _OTHER_SERVED, values, name="d.label", by="n.issued_at_s, d.label")

    def held_back(self) -> Some:
        """Active boxes that get no more certificates because none of the last ones was seen served."""
        where = " FROM device WHERE unserved >= 2 AND state = 'active'"
        return self._some("min(NULL)", where, (), name="label", by="label")

    def unattended(self, *, due_before_s: int, now_s: int) -> Some:
        """Orders that are due since then, wait for no limit, and are on nobody's desk."""
        return self._some("min(next_at_s)", _UNATTENDED, (due_before_s, now_s), name="id", by="next_at_s, id")

    def old_orders(self, *, made_before_s: int) -> Some:
        """Unfinished orders of boxes in service that wait for no limit of the CA."""
        return self._some("min(o.created_at_s)", _OLD, (made_before_s,), name="o.id", by="o.created_at_s, o.id")

    def frozen(self) -> Some:
        """Boxes that share an identity."""
        return self._some("min(NULL)", " FROM device WHERE state = 'frozen'", (), name="label", by="label")

    def waiters(self) -> list[BucketWaiters]:
        """Orders that wait for a limit, by the bucket that is used up."""
        rows = self._sql(
            f"SELECT waits_for, rank, count(*), min(created_at_s) FROM cert_order"
            f" WHERE waits_for IS NOT NULL AND {_UNFINISHED} GROUP BY waits_for, rank ORDER BY waits_for, rank"
        )
        found: dict[str, BucketWaiters] = {}
        for bucket, rank, count, since_s in rows:
            before = found.get(bucket, BucketWaiters(bucket=bucket, count=0, urgent=0, since_s=since_s))
            found[bucket] = BucketWaiters(
                bucket=bucket,
                count=before.count + count,
                urgent=before.urgent + (count if rank in _URGENT else 0),
                since_s=min(before.since_s, since_s),
            )
        return list(found.values())

    def first_event_since(self, at_s: int) -> int | None:
        """The number of the first event from then on."""
        row = self._sql("SELECT id FROM event WHERE at_s >= ? ORDER BY at_s, id LIMIT 1", (at_s,)).fetchone()
        return None if row is None else int(row[0])

    def count_events(self, kind: str, *, from_id: int) -> int:
        """How many events of a kind there were from this number on."""
        return int(self._sql("SELECT count(*) FROM event WHERE kind = ? AND id >= ?", (kind, from_id)).fetchone()[0])

    def boxes_of_events(self, kind: str, *, from_id: int) -> Sequence[str]:
        """The boxes of the first few events of a kind, by id."""
        rows = self._sql(
            "SELECT device_id FROM event WHERE kind = ? AND id >= ? ORDER BY id LIMIT ?", (kind, from_id, _EXAMPLES)
        )
        return tuple(dict.fromkeys(row[0] for row in rows if row[0] is not None))

    def why_parked(self, bucket: str) -> str:
        """The CA's words, when it was the CA that refused more from a bucket; empty: it was not."""
        row = self._sql("SELECT reason FROM bucket WHERE name = ? AND parked_until_s > 0", (bucket,)).fetchone()
        return row[0] if row else ""

    def _some(self, since: str, where: str, values: tuple[int, ...], *, name: str, by: str) -> Some:
        count, since_s = self._sql(f"SELECT count(*), {since}{where}", values).fetchone()
        if not count:
            return Some()
        rows = self._sql(f"SELECT {name}{where} ORDER BY {by} LIMIT ?", (*values, _EXAMPLES))
        return Some(count=count, since_s=since_s, examples=tuple(row[0] for row in rows))
