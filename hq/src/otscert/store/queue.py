"""Orders that wait for a bucket of the CAs' limits: `cert_order` by `waits_for`, rank and age.

They are not in the queue by time: however many wait, only as many are read as their bucket has room for. Which bucket
has room is `domain.budget`'s.
"""

from __future__ import annotations

from otscert.domain.budget import Rank
from otscert.domain.order import Order
from otscert.store.connection import Connection
from otscert.store.orders import COLUMNS, FREE_FOR, free_for, moved, order_of, unmoved

_WAITING = "waits_for = ? AND waits_for IS NOT NULL AND state NOT IN ('issued', 'failed')"


class Queue:
    def __init__(self, connection: Connection) -> None:
        self._sql = connection.execute

    def wait(self, seen: Order, *, bucket: str, next_at_s: int, reason: str) -> None:
        """Have an order wait for a bucket; `next_at_s` is when its turn is expected. Or raise `Moved`."""
        condition, values = unmoved(seen)
        changed = self._sql(
            "UPDATE cert_order SET waits_for = ?, next_at_s = ?, reason = ?, lease_by = NULL, lease_until_s = 0"
            f" WHERE {condition}",
            (bucket, next_at_s, reason, *values),
        ).rowcount
        if changed != 1:
            raise moved(seen)

    def buckets(self) -> list[str]:
        """The names of the buckets that orders wait for; costs a look for each of them, not for each order."""
        found: list[str] = []
        while True:
            row = self._sql(
                "SELECT waits_for FROM cert_order WHERE waits_for IS NOT NULL AND state NOT IN ('issued', 'failed')"
                " AND waits_for > ? ORDER BY waits_for LIMIT 1",
                (found[-1] if found else "",),
            ).fetchone()
            if row is None:
                return found
            found.append(row[0])

    def first(self, bucket: str, *, limit: int, now_s: int, by: str) -> list[Order]:
        """Those that wait for the bucket and that no other process works on: by rank, the oldest first."""
        rows = self._sql(
            f"SELECT {COLUMNS} FROM cert_order WHERE {_WAITING} AND {FREE_FOR} ORDER BY rank, created_at_s, id LIMIT ?",
            (bucket, *free_for(by, now_s), limit),
        )
        return [order_of(row) for row in rows]

    def best_rank(self, bucket: str) -> Rank | None:
        """The rank of the first that waits for the bucket; None when none does."""
        row = self._sql(f"SELECT rank FROM cert_order WHERE {_WAITING} ORDER BY rank LIMIT 1", (bucket,)).fetchone()
        return Rank(row[0]) if row else None

    def last_turn_s(self, bucket: str, *, rank: Rank) -> int | None:
        """When the last of those that go before a newcomer of this rank is expected to go; None: it is the first."""
        turns = [
            self._sql(
                f"SELECT next_at_s FROM cert_order WHERE {_WAITING} AND rank = ?"
                " ORDER BY created_at_s DESC, id DESC LIMIT 1",
                (bucket, before),
            ).fetchone()
            for before in Rank
            if before <= rank
        ]
        return max((row[0] for row in turns if row is not None), default=None)

    def counts(self) -> dict[tuple[str, Rank], int]:
        """How many wait for each bucket, by rank; walks all that wait."""
        rows = self._sql(
            "SELECT waits_for, rank, count(*) FROM cert_order"
            " WHERE waits_for IS NOT NULL AND state NOT IN ('issued', 'failed')"
            " GROUP BY waits_for, rank ORDER BY waits_for, rank"
        )
        return {(row[0], Rank(row[1])): row[2] for row in rows}
