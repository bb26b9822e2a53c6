"""A device ends, or starts over under its old name: what becomes of its name, its orders and its certificates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from otscert.domain.device import Device, DeviceEvent, Retired, move
from otscert.domain.order import Order, OrderEvent, OrderState
from otscert.store.certificates import Certificate
from otscert.store.transaction import Transaction

SUPERSEDED = 4  # CRLReason, RFC 5280 section 5.3.1
CESSATION_OF_OPERATION = 5


def retire(transaction: Transaction, device: Device, why: Retired, *, revoke: bool, now_s: int, by: str = "") -> None:
    """Take the device's name back for ever; `by` whom, for the record.

    A running zone lets go of it, and of its challenges, within `housekeeping.follow`'s next round.
    """
    ended = replace(device, state=move(device.state, DeviceEvent.RETIRE), retired=why)
    transaction.devices.save(ended, seen_token_hash=device.ratchet.token_hash)
    end_identity(transaction, device, revoke=revoke, reason=CESSATION_OF_OPERATION, now_s=now_s)
    transaction.events.append(
        "device.retired",
        now_s=now_s,
        device_id=device.id,
        data={"why": why, "label": device.label, "revoked": revoke, "by": by},
    )


def end_identity(transaction: Transaction, device: Device, *, revoke: bool, reason: int, now_s: int) -> list[Order]:
    """Nobody shall use the keys of this device any more: end its orders, have its certificates revoked by policy.

    Returns the orders that were ended; their challenges are the caller's to drop.
    """
    replaced = transaction.certificates.replace_all(device.id)
    if revoke:
        ask_to_revoke(transaction, replaced, reason=reason, now_s=now_s)
    # Not those that are being finalized: the CA may have issued, and what HQ does not know it cannot revoke.
    orders = [
        order for order in transaction.orders.unfinished_of(device.id) if order.state is not OrderState.FINALIZING
    ]
    for order in orders:
        _end_order(transaction, order, now_s=now_s)
    return orders


def ask_to_revoke(transaction: Transaction, certificates: Sequence[Certificate], *, reason: int, now_s: int) -> None:
    """Have those of these certificates revoked that have not ended by themselves."""
    for certificate in certificates:
        if certificate.not_after_s > now_s:
            transaction.revocations.ask(certificate.sha256, reason=reason, now_s=now_s)


def _end_order(transaction: Transaction, order: Order, *, now_s: int) -> None:
    """Fail an order that nobody waits for; whoever works on it right now finds that it has moved."""
    reason = "its box starts over or was retired"
    transaction.orders.advance(order, OrderEvent.FAIL, reason=reason)
    transaction.events.append(
        "order.failed", now_s=now_s, device_id=order.device_id, order_id=order.id, data={"reason": reason}
    )
