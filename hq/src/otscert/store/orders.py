"""Orders as rows; the due-date index is the queue."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from otscert.domain.budget import Rank
from otscert.domain.order import TERMINAL, Order, OrderEvent, OrderState, move
from otscert.store.connection import Connection
from otscert.store.errors import AlreadyThere, Moved

COLUMNS = (
    "id, device_id, txid, label, names, csr_der, state, issuer, profile, attempt, url, reason, created_at_s, next_at_s,"
    " certificate_sha256, replaces, rank, waits_for, failing_since_s, lease_by, lease_until_s"
)


def order_of(row: tuple[Any, ...]) -> Order:
    return Order(
        id=row[0],
        device_id=row[1],
        txid=row[2],
        label=row[3],
        names=tuple(row[4].split()),
        csr_der=row[5],
        state=OrderState(row[6]),
        issuer=row[7],
        profile=row[8],
        attempt=row[9],
        url=row[10],
        reason=row[11],
        created_at_s=row[12],
        next_at_s=row[13],
        certificate_sha256=row[14],
        replaces=row[15],
        rank=Rank(row[16]),
        waits_for=row[17],
        failing_since_s=row[18],
        lease_by=row[19],
        lease_until_s=row[20],
    )


_NOBODYS = TERMINAL | {OrderState.WAITING}
_LONGEST_LEASE_S = 600
"""Nobody leases for so long; a lease that ends later was given by a clock that was ahead."""
FREE_FOR = "(lease_by IS NULL OR lease_by = ? OR lease_until_s <= ? OR lease_until_s > ?)"


def free_for(by: str, now_s: int) -> tuple[str, int, int]:
    return by, now_s, now_s + _LONGEST_LEASE_S


def unmoved(seen: Order) -> tuple[str, tuple[str, ...]]:
    """The condition that a row is as it was read, and still worked on by whom it was then; and its values."""
    if seen.lease_by is None:
        return "id = ? AND state = ? AND lease_by IS NULL", (seen.id, seen.state)
    return "id = ? AND state = ? AND lease_by = ?", (seen.id, seen.state, seen.lease_by)


class Orders:
    def __init__(self, connection: Connection) -> None:
        self._sql = connection.execute
        self._many = connection.executemany
        self._integrity_error = connection.IntegrityError

    def get(self, order_id: str) -> Order | None:
        row = self._sql(f"SELECT {COLUMNS} FROM cert_order WHERE id = ?", (order_id,)).fetchone()
        return order_of(row) if row else None

    def by_txid(self, txid: str) -> Order | None:
        row = self._sql(f"SELECT {COLUMNS} FROM cert_order WHERE txid = ?", (txid,)).fetchone()
        return order_of(row) if row else None

    def of_device(self, device_id: str, *, limit: int) -> list[Order]:
        """The device's orders, newest first."""
        rows = self._sql(
            f"SELECT {COLUMNS} FROM cert_order WHERE device_id = ? ORDER BY created_at_s DESC, id LIMIT ?",
            (device_id, limit),
        )
        return [order_of(row) for row in rows]

    def page(self, *, after_id: str, limit: int) -> list[Order]:
        rows = self._sql(
            f"SELECT {COLUMNS} FROM cert_order WHERE id > ? ORDER BY id LIMIT ?",
            (after_id, limit),
        )
        return [order_of(row) for row in rows]

    def due(self, *, now_s: int, limit: int, by: str) -> list[Order]:
        """Unfinished orders whose time has come and that no other process works on: by rank, the longest due first.

        Those that wait for a bucket are `store.queue`'s.
        """
        found: list[Order] = []
        for rank in Rank:  # one after the other: no index has what is due already sorted by rank
            rows = self._sql(
                f"SELECT {COLUMNS} FROM cert_order WHERE waits_for IS NULL AND state NOT IN ('issued', 'failed')"
                f" AND rank = ? AND next_at_s <= ? AND {FREE_FOR} ORDER BY next_at_s, id LIMIT ?",
                (rank, now_s, *free_for(by, now_s), limit - len(found)),
            )
            found += [order_of(row) for row in rows]
            if len(found) >= limit:
                break
        return found

    def next_due_s(self, *, besides: Sequence[str], now_s: int, by: str) -> int | None:
        """When the earliest unfinished order falls due, leaving out those that are being worked on."""
        marks = ", ".join("?" * len(besides))
        row = self._sql(
            "SELECT next_at_s FROM cert_order"
            f" WHERE waits_for IS NULL AND state NOT IN ('issued', 'failed') AND id NOT IN ({marks}) AND {FREE_FOR}"
            " ORDER BY next_at_s LIMIT 1",
            (*besides, *free_for(by, now_s)),
        ).fetchone()
        return row[0] if row else None

    def oldest_due_s(self) -> int | None:
        """When the earliest unfinished order fell or falls due, whoever works on it."""
        row = self._sql(
            "SELECT next_at_s FROM cert_order WHERE waits_for IS NULL AND state NOT IN ('issued', 'failed')"
            " ORDER BY next_at_s LIMIT 1"
        ).fetchone()
        return row[0] if row else None

    # ---- leases: which process works on an order

    def lease(self, chosen: Iterable[Order], *, by: str, until_s: int) -> list[Order]:
        """Have this process alone work on orders that `due` gave in this transaction; returns them as they are now."""
        leased = [replace(order, lease_by=by, lease_until_s=until_s) for order in chosen]
        self._many(
            "UPDATE cert_order SET lease_by = ?, lease_until_s = ? WHERE id = ?",
            [(by, until_s, order.id) for order in leased],
        )
        return leased

    def renew_leases(self, *, by: str, until_s: int) -> None:
        """Keep what this process still has; what another one has taken over stays with that one."""
        self._sql("UPDATE cert_order SET lease_until_s = ? WHERE lease_by = ?", (until_s, by))

    def lost(self, order_ids: Sequence[str], *, by: str) -> set[str]:
        """Those of these orders that another process works on by now."""
        marks = ", ".join("?" * len(order_ids))
        rows = self._sql(
            f"SELECT id FROM cert_order WHERE id IN ({marks}) AND lease_by IS NOT NULL AND lease_by <> ?",
            (*order_ids, by),
        )
        return {row[0] for row in rows}

    def free_leases(self, *, by: str) -> int:
        """Let others go on with the orders of a process that ends; returns how many."""
        return self._sql("UPDATE cert_order SET lease_by = NULL, lease_until_s = 0 WHERE lease_by = ?", (by,)).rowcount

    def url_known(self, url: str) -> bool:
        return self._sql("SELECT 1 FROM cert_order WHERE url = ?", (url,)).fetchone() is not None

    def add(self, order: Order) -> None:
        self._sql(
            f"INSERT INTO cert_order ({COLUMNS}) VALUES ({', '.join('?' * 21)})",
            (
                order.id,
                order.device_id,
                order.txid,
                order.label,
                " ".join(order.names),
                order.csr_der,
                order.state,
                order.issuer,
                order.profile,
                order.attempt,
                order.url,
                order.reason,
                order.created_at_s,
                order.next_at_s,
                order.certificate_sha256,
                order.replaces,
                order.rank,
                order.waits_for,
                order.failing_since_s,
                order.lease_by,
                order.lease_until_s,
            ),
        )

    def advance(self, seen: Order, event: OrderEvent, **changes: Any) -> Order:
        """Move an order by the table and change columns; one that ends or begins again is nobody's any more.

        Raises `Moved` when it is not in the state that was read or another process works on it since, `AlreadyThere`
        when another order has its URL.
        """
        state = move(seen.state, event)
        columns = {"state": state, **changes}
        if state in _NOBODYS:
            columns |= {"lease_by": None, "lease_until_s": 0}
        if state is OrderState.FAILED:
            # A CA that reuses orders gives the same one to the box's next order, whose it is from then on.
            columns["url"] = None
        assignments = ", ".join(f"{column} = ?" for column in columns)
        condition, values = unmoved(seen)
        try:
            changed = self._sql(
                f"UPDATE cert_order SET {assignments} WHERE {condition}", (*columns.values(), *values)
            ).rowcount
        except self._integrity_error as error:
            raise AlreadyThere("cert_order") from error
        if changed != 1:
            raise moved(seen)
        order = self.get(seen.id)
        if order is None:
            raise Moved(f"order {seen.id} is gone")
        return order

    def unfinished(self, device_id: str) -> bool:
        """Is a certificate being obtained for the device?"""
        row = self._sql(
            "SELECT 1 FROM cert_order WHERE device_id = ? AND state NOT IN ('issued', 'failed') LIMIT 1", (device_id,)
        ).fetchone()
        return row is not None

    def unfinished_of(self, device_id: str) -> list[Order]:
        rows = self._sql(
            f"SELECT {COLUMNS} FROM cert_order WHERE device_id = ? AND state NOT IN ('issued', 'failed')"
            " ORDER BY created_at_s, id",
            (device_id,),
        )
        return [order_of(row) for row in rows]

    def wake(self, device_id: str, *, now_s: int) -> int:
        """Let the device's unfinished orders go on now; returns how many."""
        return self._sql(
            "UPDATE cert_order SET next_at_s = ? WHERE device_id = ? AND state NOT IN ('issued', 'failed')",
            (now_s, device_id),
        ).rowcount

    def raise_rank(self, device_id: str, rank: Rank) -> int:
        """Let the device's orders that wait for their turn go before those of lower ranks; returns how many."""
        return self._sql(
            "UPDATE cert_order SET rank = ? WHERE device_id = ? AND state = 'waiting' AND rank > ?",
            (rank, device_id, rank),
        ).rowcount

    def bring_back(self, *, from_s: int, now_s: int) -> int:
        """Let unfinished orders go on now that would wait until `from_s` or longer; returns how many."""
        return self._sql(
            "UPDATE cert_order SET next_at_s = ?"
            " WHERE waits_for IS NULL AND state NOT IN ('issued', 'failed') AND next_at_s >= ?",
            (now_s, from_s),
        ).rowcount

    def drop_replaces(self, seen: Order) -> Order:
        """Order as if it followed no certificate, the CA does not take it as a replacement; or raise `Moved`."""
        condition, values = unmoved(seen)
        if self._sql(f"UPDATE cert_order SET replaces = NULL WHERE {condition}", values).rowcount != 1:
            raise moved(seen)
        return replace(seen, replaces=None)

    def move_to(self, seen: Order, issuer: str) -> Order:
        """Give an order that waits to another issuer, which has not failed it yet; or raise `Moved`."""
        condition, values = unmoved(seen)
        changed = self._sql(
            f"UPDATE cert_order SET issuer = ?, failing_since_s = NULL, waits_for = NULL WHERE {condition}",
            (issuer, *values),
        ).rowcount
        if changed != 1:
            raise moved(seen)
        return replace(seen, issuer=issuer, failing_since_s=None, waits_for=None)

    def fails_since(self, seen: Order, since_s: int | None) -> Order:
        """Since when its present issuer has failed it; or raise `Moved`."""
        condition, values = unmoved(seen)
        changed = self._sql(f"UPDATE cert_order SET failing_since_s = ? WHERE {condition}", (since_s, *values)).rowcount
        if changed != 1:
            raise moved(seen)
        return replace(seen, failing_since_s=since_s)

    def rest(self, seen: Order, *, next_at_s: int, reason: str) -> None:
        """Keep the state and say why nothing is done for it until then; or raise `Moved`. No run is counted."""
        self._put_aside(seen, "", next_at_s=next_at_s, reason=reason)

    def postpone(self, seen: Order, *, next_at_s: int, reason: str) -> None:
        """Keep the state, count the run that ended early, say why it waits and until when; or raise `Moved`."""
        self._put_aside(seen, "attempt = attempt + 1, ", next_at_s=next_at_s, reason=reason)

    def _put_aside(self, seen: Order, counting: str, *, next_at_s: int, reason: str) -> None:
        condition, values = unmoved(seen)
        changed = self._sql(
            f"UPDATE cert_order SET {counting}next_at_s = ?, reason = ?, waits_for = NULL, lease_by = NULL,"
            f" lease_until_s = 0 WHERE {condition}",
            (next_at_s, reason, *values),
        ).rowcount
        if changed != 1:
            raise moved(seen)


def moved(seen: Order) -> Moved:
    return Moved(f"order {seen.id} is no longer {seen.state}, or another process works on it")
