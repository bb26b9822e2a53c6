"""The topics of `Signals`. What begins with `HERE` concerns the process alone that publishes it."""

from __future__ import annotations

HERE = "here."

DUE = "orders.due"
"""An order became due now."""

WEBHOOK = "admission.webhook"
"""A webhook has to be asked now."""


ZONE = "zone.changed"
"""The zone's content changed in the store."""


def room_for_orders(process: str) -> str:
    """A worker has become free for another order."""
    return f"{HERE}orders.room:{process}"


OUTBOX = "alerts.outbox"
"""There may be a message to be sent."""


def poll_replaced(thumbprint: str) -> str:
    return f"poll.replaced:{thumbprint}"


def order_ended(order_id: str) -> str:
    return f"order.ended:{order_id}"
