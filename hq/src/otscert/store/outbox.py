"""Messages on their way to people, a row for each channel. Knows nothing of what they say or how they are sent."""

from __future__ import annotations

from dataclasses import dataclass

from otscert.store.connection import Connection

_MOST = 10_000
_COLUMNS = "id, channel, message, created_s, until_s, next_at_s, attempt, problem, done_s"


@dataclass(frozen=True, slots=True, kw_only=True)
class Posted:
    """A message for a channel. Once `done_s` is set it was sent, or given up when `problem` says why."""

    id: str
    channel: str
    message: str
    """The JSON of `domain.alert_message.Message`."""
    created_s: int
    until_s: int
    next_at_s: int
    attempt: int = 0
    problem: str = ""
    done_s: int | None = None


class Outbox:
    def __init__(self, connection: Connection) -> None:
        self._sql = connection.execute

    def add(self, posted: Posted) -> None:
        self._sql(
            f"INSERT INTO outbox ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                posted.id,
                posted.channel,
                posted.message,
                posted.created_s,
                posted.until_s,
                posted.next_at_s,
                posted.attempt,
                posted.problem,
                posted.done_s,
            ),
        )

    def due(self, channel: str, *, now_s: int, limit: int) -> list[Posted]:
        """What is to be sent by the channel now, what has waited longest first."""
        return self._posted(
            f"SELECT {_COLUMNS} FROM outbox WHERE channel = ? AND done_s IS NULL AND next_at_s <= ?"
            " ORDER BY next_at_s, created_s, id LIMIT ?",
            channel,
            now_s,
            limit,
        )

    def waiting(self) -> list[Posted]:
        """Everything that was not sent yet, by channel."""
        return self._posted(
            f"SELECT {_COLUMNS} FROM outbox WHERE done_s IS NULL ORDER BY channel, next_at_s, id LIMIT ?", _MOST
        )

    def claim(self, posted: Posted, *, until_s: int) -> bool:
        """Take a message to send it; False when another process has. It is free again at `until_s`."""
        return bool(
            self._sql(
                "UPDATE outbox SET attempt = attempt + 1, next_at_s = ?"
                " WHERE id = ? AND attempt = ? AND done_s IS NULL",
                (until_s, posted.id, posted.attempt),
            ).rowcount
        )

    def sent(self, message_id: str, *, now_s: int) -> None:
        self._sql(
            "UPDATE outbox SET done_s = ?, problem = '' WHERE id = ? AND done_s IS NULL",
            (now_s, message_id),
        )

    def failed(self, message_id: str, *, problem: str, next_at_s: int) -> None:
        self._sql(
            "UPDATE outbox SET problem = ?, next_at_s = ? WHERE id = ? AND done_s IS NULL",
            (problem, next_at_s, message_id),
        )

    def overdue(self, *, now_s: int, limit: int) -> list[Posted]:
        """What has waited for too long, also for a channel that is gone."""
        return self._posted(
            f"SELECT {_COLUMNS} FROM outbox WHERE done_s IS NULL AND until_s <= ? ORDER BY until_s, id LIMIT ?",
            now_s,
            limit,
        )

    def give_up(self, message_id: str, *, problem: str, now_s: int) -> None:
        """End a message that was not sent; `problem` is not empty."""
        self._sql(
            "UPDATE outbox SET done_s = ?, problem = ? WHERE id = ? AND done_s IS NULL", (now_s, problem, message_id)
        )

    def last_sent_s(self, channel: str) -> int | None:
        """When the channel last took a message."""
        row = self._sql(
            "SELECT done_s FROM outbox WHERE channel = ? AND done_s IS NOT NULL AND problem = ''"
            " ORDER BY done_s DESC LIMIT 1",
            (channel,),
        ).fetchone()
        return None if row is None else int(row[0])

    def given_up(self, channel: str, *, after_s: int) -> list[Posted]:
        """What was given up for the channel since, the last one first."""
        return self._posted(
            f"SELECT {_COLUMNS} FROM outbox WHERE channel = ? AND done_s IS NOT NULL AND done_s > ? AND problem <> ''"
            " ORDER BY done_s DESC, id LIMIT ?",
            channel,
            after_s,
            _MOST,
        )

    def sweep(self, *, before_s: int) -> int:
        """Forget what was sent or given up before."""
        return self._sql("DELETE FROM outbox WHERE done_s IS NOT NULL AND done_s < ?", (before_s,)).rowcount

    def _posted(self, sql: str, *values: str | int) -> list[Posted]:
        return [
            Posted(
                id=row[0],
                channel=row[1],
                message=row[2],
                created_s=row[3],
                until_s=row[4],
                next_at_s=row[5],
                attempt=row[6],
                problem=row[7],
                done_s=row[8],
            )
            for row in self._sql(sql, values)
        ]
