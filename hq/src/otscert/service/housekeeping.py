"""What HQ forgets: expired transactions with the names they reserved, keys that never became a device, full buckets."""

from __future__ import annotations

from otscert.service.context import Hq
from otscert.service.ports import Store
from otscert.service.waiting import WAITING_S
from otscert.store.transaction import Transaction

EVERY_S = 60.0
_STRANGER_S = 3600
_REMEMBERED_S = 400 * 24 * 3600
"""Events and D0s: longer than any certificate lives."""


async def sweep(hq: Hq, store: Store) -> None:
    """Forget what has expired; everything in one transaction, found by index."""
    now_s = hq.now_s()

    def work(transaction: Transaction) -> None:
        transaction.hellos.sweep(now_s=now_s)
        transaction.requests.sweep(seen_before_s=now_s - WAITING_S)
        transaction.keys.sweep(created_before_s=now_s - _STRANGER_S)
        transaction.quotas.sweep(now_ms=now_s * 1000)
        transaction.events.sweep(before_s=now_s - _REMEMBERED_S)
        transaction.hellos.sweep_d0(before_s=now_s - _REMEMBERED_S)

    await store.write(work)
