"""Events that a box can cause at will: recorded, but so many a day and no more.

The first ones of a day tell the story; without a bound one box could fill HQ's disk.
"""

from __future__ import annotations

from collections.abc import Mapping

from otscert.domain.quota import Quota
from otscert.store.transaction import Transaction

PER_DEVICE_AND_KIND = Quota(count=20, period_s=24 * 3600)


def note(
    transaction: Transaction, kind: str, *, now_s: int, device_id: str | None, data: Mapping[str, object] | None = None
) -> None:
    """Append an event unless this device has had its share of this kind."""
    bucket = f"event:{kind}:{device_id or ''}"
    if transaction.quotas.spend(bucket, PER_DEVICE_AND_KIND, now_ms=now_s * 1000).allowed:
        transaction.events.append(kind, now_s=now_s, device_id=device_id, data=data)
