"""Which stamped unit says this hello, if any, and whether it may."""

from __future__ import annotations

from otscert.domain.device import Device, DeviceEvent, DeviceState, move
from otscert.domain.unit import Unit, UnitState, UnitVerdict, judge_unit
from otscert.service.conversation import Request
from otscert.service.notes import note
from otscert.service.refusal import Refusal
from otscert.store.transaction import Transaction
from otscert_agent.wire.messages import Hello
from otscert_agent.wire.problems import ProblemType

_FACTORY = "factory"


class UnitRefused(Exception):
    """The unit is not let through; what was written about it is to be kept."""


def stamped_unit(transaction: Transaction, request: Request[Hello], device: Device | None) -> Unit | None:
    """The unit whose factory key (or whose device's identity) signed; None for a box without factory secret.

    Raises `UnitRefused`, and `Refusal` for a unit that no manifest has, or a blocked serial number.
    """
    hello = request.message
    unit = transaction.units.by_thumbprint((device.unit or "") if device else request.thumbprint)
    if unit is None:
        _refuse_stranger(hello, device)
    serial = unit.serial if unit else hello.serial
    blocked = transaction.units.blocked(hello.model, serial) if serial else None
    if blocked is not None:
        detail = f"the serial number {serial!r} is blocked at this HQ: {blocked}"
        raise Refusal(ProblemType.BLOCKED_UNIT, detail, retry_after_s=24 * 3600)
    if unit is None:
        return None
    if unit.model != hello.model:
        detail = f"unit {unit.serial} was stamped as {unit.model!r}, its firmware says {hello.model!r}"
        raise Refusal(ProblemType.UNKNOWN_UNIT, detail, retry_after_s=3600)
    decision = judge_unit(unit, fingerprint=hello.hardware_fingerprint)
    if decision.verdict is UnitVerdict.QUARANTINE:
        _quarantine(transaction, unit, hello, now_s=request.now_s)
    if decision.verdict is not UnitVerdict.PASS:
        raise UnitRefused(decision.reason)
    return unit


def _refuse_stranger(hello: Hello, device: Device | None) -> None:
    if device is None and _FACTORY in hello.report.used:
        raise Refusal(
            ProblemType.UNKNOWN_UNIT,
            "this unit's factory key is in no manifest of this HQ: import the manifest of its batch"
            " (otscert factory import)",
            retry_after_s=3600,
        )


def _quarantine(transaction: Transaction, unit: Unit, hello: Hello, *, now_s: int) -> None:
    transaction.units.set_state(unit.thumbprint, UnitState.QUARANTINED)
    device = transaction.devices.get(unit.device_id) if unit.device_id else None
    if device is not None and device.state is not DeviceState.RETIRED:
        transaction.devices.set_state(device.id, move(device.state, DeviceEvent.QUARANTINE))
    note(
        transaction,
        "unit.cloned",
        now_s=now_s,
        device_id=device.id if device else None,
        data={"serial": unit.serial, "model": unit.model, "fingerprint": hello.hardware_fingerprint},
    )
