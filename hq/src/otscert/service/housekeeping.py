"""What HQ forgets: expired transactions with the names they reserved, keys that never became a device, full buckets."""

from __future__ import annotations

from otscert.service.context import Hq
from otscert.service.ports import Store
from otscert.store.transaction import Transaction

EVERY_S = 60.0
_STRANGER_S = 3600


async def sweep(hq: Hq, store: Store) -> None:
    """Forget what has expired; everything in one transaction, found by index."""
    now_s = hq.now_s()

    def work(transaction: Transaction) -> None:
        transaction.hellos.sweep(now_s=now_s)
        transaction.keys.sweep(created_before_s=now_s - _STRANGER_S)
        transaction.quotas.sweep(now_ms=now_s * 1000)

    await store.write(work)
