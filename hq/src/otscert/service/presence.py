"""A box calls: its name belongs into DNS, and the orders that rested while it was away go on."""

from __future__ import annotations

from otscert.domain.device import Device
from otscert.store.transaction import Transaction


def welcome_back(transaction: Transaction, device: Device, *, now_s: int) -> bool:
    """Let the orders of a box that was away for long go on; whoever calls this enters that it was seen.

    Returns whether it had been away; then `topics.DUE` is worth publishing after the commit.
    """
    if device.in_dns:
        return False
    transaction.orders.wake(device.id, now_s=now_s)
    transaction.events.append(
        "device.returned", now_s=now_s, device_id=device.id, data={"last_seen_s": device.last_seen_s}
    )
    return True
