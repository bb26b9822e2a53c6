"""Buckets of `domain.quota`, one number each."""

from __future__ import annotations

from otscert.domain.quota import Quota, QuotaDecision, spend
from otscert.store.connection import Connection


class Quotas:
    def __init__(self, connection: Connection) -> None:
        self._sql = connection.execute

    def spend(self, bucket: str, quota: Quota, *, now_ms: int, cost: int = 1) -> QuotaDecision:
        """Take `cost` from a bucket if it fits; exact, because transactions do not overlap."""
        row = self._sql("SELECT tat_ms FROM quota WHERE bucket = ?", (bucket,)).fetchone()
        decision = spend(quota, tat_ms=row[0] if row else None, now_ms=now_ms, cost=cost)
        if decision.allowed:
            self._sql(
                "INSERT INTO quota (bucket, tat_ms) VALUES (?, ?)"
                " ON CONFLICT (bucket) DO UPDATE SET tat_ms = excluded.tat_ms",
                (bucket, decision.tat_ms),
            )
        return decision

    def ask(self, bucket: str, quota: Quota, *, now_ms: int) -> QuotaDecision:
        """Return what `spend` would decide; take nothing."""
        row = self._sql("SELECT tat_ms FROM quota WHERE bucket = ?", (bucket,)).fetchone()
        return spend(quota, tat_ms=row[0] if row else None, now_ms=now_ms)

    def sweep(self, *, now_ms: int) -> int:
        """Forget buckets that are full again."""
        return self._sql("DELETE FROM quota WHERE tat_ms < ?", (now_ms,)).rowcount
