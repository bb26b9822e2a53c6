"""What HQ forgets, and what its running zone lets go.

Forgotten are expired transactions with the names they reserved, keys that never became a device, full buckets. The
zone lets go the names that were taken back, by this process or by a command beside it, and those of boxes that did not
call for long. Everything is found by index and done in bounded steps.
"""

from __future__ import annotations

from functools import partial

from otscert.domain.device import Device
from otscert.service.context import Hq
from otscert.service.ports import Store, ZonePublisher
from otscert.service.waiting import LONGEST_S, WAITING_S
from otscert.store.transaction import Transaction

EVERY_S = 60.0
FOLLOW_EVERY_S = 2.0
AT_ONCE = 200
_STRANGER_S = 3600
_LONGEST_REST_S = 60 * 24 * 3600
"""Longer than any CA's Retry-After that is worth waiting for."""
_REMEMBERED_S = 400 * 24 * 3600
"""Events and canaries: longer than any certificate lives."""


async def sweep(hq: Hq, store: Store) -> None:
    """Forget what has expired; everything in one transaction, found by index."""
    now_s = hq.now_s()

    def work(transaction: Transaction) -> None:
        transaction.hellos.sweep(now_s=now_s)
        transaction.keys.sweep(created_before_s=now_s - _STRANGER_S)
        transaction.quotas.sweep(now_ms=now_s * 1000)
        transaction.buckets.sweep(now_s=now_s)
        transaction.requests.sweep(seen_before_s=now_s - WAITING_S, asked_before_s=now_s - LONGEST_S)
        transaction.events.sweep(before_s=now_s - _REMEMBERED_S)
        transaction.canaries.sweep(before_s=now_s - _REMEMBERED_S)
        transaction.hellos.sweep_d0(now_s=now_s)
        transaction.challenges.sweep_checks(now_s=now_s)
        transaction.zone_changes.sweep()
        # HQ's clock was ahead when these were postponed, and has been set right since.
        transaction.orders.bring_back(from_s=now_s + _LONGEST_REST_S, now_s=now_s)
        transaction.revocations.bring_back(from_s=now_s + _LONGEST_REST_S, now_s=now_s)

    await store.write(work)


async def follow(hq: Hq, store: Store, zone: ZonePublisher) -> int:
    """Take out of the zone what does not belong into it any more; returns how many names.

    After a restart the zone is loaded without them, so it does not matter whether HQ ends between commit and zone.
    """
    count = 0
    while True:
        retired = await store.read(lambda transaction: transaction.devices.retired_in_dns(limit=AT_ONCE))
        silent = await store.read(partial(_silent, hq=hq))
        if not retired and not silent:
            return count
        left, values = await store.write(partial(_leave, hq=hq))
        # Nothing is awaited from here on: a box that calls after that commit is entered into the zone after this.
        for label in left:
            zone.withdraw(label)
        for label, value in values:
            zone.drop_txt(label, value)
        count += len(left)


def _silent(transaction: Transaction, *, hq: Hq) -> list[Device]:
    return transaction.devices.silent_in_dns(seen_before_s=hq.now_s() - hq.stale_s, limit=AT_ONCE)


def _leave(transaction: Transaction, *, hq: Hq) -> tuple[list[str], list[tuple[str, str]]]:
    retired = transaction.devices.retired_in_dns(limit=AT_ONCE)
    silent = _silent(transaction, hq=hq)
    values: list[tuple[str, str]] = []
    for device in retired:
        values += transaction.challenges.drop_of(device.label)
    for device in silent:
        transaction.events.append(
            "device.stale", now_s=hq.now_s(), device_id=device.id, data={"last_seen_s": device.last_seen_s}
        )
    for device in (*retired, *silent):
        transaction.devices.leave_dns(device.id)
    return [device.label for device in (*retired, *silent)], values
