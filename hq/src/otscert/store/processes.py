"""The processes that share this store, as far as they were heard of lately."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from otscert.store.connection import Connection

_COLUMNS = "id, host, pid, roles, key_check, started_s, seen_s"


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A row; `roles` are separated by a space, `orders` is how many it works on now."""

    id: str
    host: str
    pid: int
    roles: str
    key_check: str
    started_s: int
    seen_s: int
    orders: int = 0


def _process(row: tuple[Any, ...], *, orders: int) -> Process:
    return Process(
        id=row[0],
        host=row[1],
        pid=row[2],
        roles=row[3],
        key_check=row[4],
        started_s=row[5],
        seen_s=row[6],
        orders=orders,
    )


class Processes:
    def __init__(self, connection: Connection) -> None:
        self._sql = connection.execute

    def put(self, process: Process) -> None:
        """Enter a process, or say that it is still there."""
        self._sql(
            f"INSERT INTO hq_process ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET"
            " host = excluded.host, pid = excluded.pid, roles = excluded.roles, key_check = excluded.key_check,"
            " started_s = excluded.started_s, seen_s = excluded.seen_s",
            (
                process.id,
                process.host,
                process.pid,
                process.roles,
                process.key_check,
                process.started_s,
                process.seen_s,
            ),
        )

    def seen_since(self, since_s: int) -> list[Process]:
        """Those that were heard of since, the one that was heard of last last."""
        rows = self._sql(
            f"SELECT {_COLUMNS} FROM hq_process WHERE seen_s >= ? ORDER BY seen_s, id", (since_s,)
        ).fetchall()
        return [_process(row, orders=self._orders_of(row[0])) for row in rows]

    def _orders_of(self, process_id: str) -> int:
        (count,) = self._sql("SELECT count(*) FROM cert_order WHERE lease_by = ?", (process_id,)).fetchone()
        return int(count)

    def leave(self, process_id: str) -> None:
        self._sql("DELETE FROM hq_process WHERE id = ?", (process_id,))

    def forget(self, *, seen_before_s: int, seen_after_s: int) -> int:
        """Forget those that were not heard of since, or only by a clock that was ahead; returns how many."""
        old = self._sql("DELETE FROM hq_process WHERE seen_s < ?", (seen_before_s,)).rowcount
        return old + self._sql("DELETE FROM hq_process WHERE seen_s > ?", (seen_after_s,)).rowcount
