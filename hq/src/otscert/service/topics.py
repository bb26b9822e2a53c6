"""The topics of `Signals`."""

from __future__ import annotations

DUE = "orders.due"
"""An order became due now."""

WEBHOOK = "admission.webhook"
"""A webhook has to be asked now."""


def poll_replaced(thumbprint: str) -> str:
    return f"poll.replaced:{thumbprint}"


def order_ended(order_id: str) -> str:
    return f"order.ended:{order_id}"
