"""How a device stands: what a box is told whose name was taken back, and whether an order of it may go on."""

from __future__ import annotations

from otscert.domain.device import Device, Retired, may_work
from otscert.domain.order import Order
from otscert.service.refusal import Refusal
from otscert.store.transaction import Transaction
from otscert_agent.wire.problems import ProblemType

_SENTENCES = {
    Retired.RESET: "HQ's operator has reset this box: it starts over and gets another name",
    Retired.TRANSFER: "this box has another owner now: it starts over and gets another name",
    Retired.REPLACED: "the unit has enrolled again since: this identity is over",
    Retired.REMOVED: "HQ's operator has taken this box out of service; its name is gone and does not come back",
}


def refuse_retired(device: Device) -> None:
    """Raise `Refusal` when the device's name was taken back; its identity may do nothing any more."""
    if device.retired is None:
        return
    kind = ProblemType.RETIRED if device.retired is Retired.REMOVED else ProblemType.START_OVER
    # A unit that has enrolled again has wiped this identity before: whoever calls with it has a copy.
    copied: dict[str, object] = {"identity": "replaced", "label": device.label}
    raise Refusal(
        kind,
        _SENTENCES[device.retired],
        retry_after_s=24 * 3600 if kind is ProblemType.RETIRED else None,
        event=("clone.seen", device.id, copied) if device.retired is Retired.REPLACED else None,
    )


def why_order_rests(transaction: Transaction, order: Order) -> str | None:
    """Why nothing may be done for this order at a CA now; None when it may go on."""
    device = transaction.devices.get(order.device_id)
    if device is None:
        return "HQ does not know its box any more"
    permission = may_work(device)
    return None if permission.allowed else permission.reason


def is_nobodys(transaction: Transaction, order: Order) -> bool:
    """Whether the identity that asked for this order is over, so that nobody holds the key of its CSR any more."""
    device = transaction.devices.get(order.device_id)
    if device is None or device.retired is not None:
        return True
    asked = transaction.hellos.get(order.txid)  # gone after a month: long after any unit that started over
    return asked is not None and asked.identity is not None and asked.identity != device.thumbprint
