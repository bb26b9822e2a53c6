"""Which stamped unit says this hello, if any, and whether it may; asked again when it enrols."""

from __future__ import annotations

from otscert.domain.device import Device, DeviceEvent, DeviceState, move
from otscert.domain.unit import Unit, UnitState, UnitVerdict, judge_unit
from otscert.service.conversation import Request
from otscert.service.notes import note
from otscert.service.refusal import Refusal
from otscert.store.hellos import HelloRow
from otscert.store.transaction import Transaction
from otscert_agent.wire.messages import Hello
from otscert_agent.wire.problems import ProblemType

_FACTORY = "factory"
ASK_AGAIN_S = 24 * 3600


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
    _refuse_blocked_serial(transaction, hello.model, serial_of(hello, unit, device))
    if unit is None:
        return None
    if unit.model != hello.model:
        detail = f"unit {unit.serial} was stamped as {unit.model!r}, its firmware says {hello.model!r}"
        raise Refusal(ProblemType.UNKNOWN_UNIT, detail, retry_after_s=3600)
    _judge(transaction, unit, fingerprint=hello.hardware_fingerprint, now_s=request.now_s)
    return unit


def serial_of(hello: Hello, unit: Unit | None, device: Device | None) -> str | None:
    """The manifest's word, else what the box said when it was admitted: a block must not end by saying nothing."""
    if unit is not None:
        return unit.serial
    return device.serial if device is not None and device.serial else hello.serial


def refuse_unwelcome(transaction: Transaction, row: HelloRow, *, now_s: int) -> None:
    """Judge the box of a hello once more, now that it enrols: much may have happened since.

    Two boards with one factory key may both have said hello before either had enrolled; an operator may have blocked
    it. Raises as `stamped_unit`.
    """
    unit = transaction.units.by_thumbprint(row.unit) if row.unit else None
    _refuse_blocked_serial(transaction, row.model, row.serial)
    if unit is not None:
        _judge(transaction, unit, fingerprint=row.fingerprint, now_s=now_s)


def _judge(transaction: Transaction, unit: Unit, *, fingerprint: str, now_s: int) -> None:
    decision = judge_unit(unit, fingerprint=fingerprint)
    if decision.verdict is UnitVerdict.QUARANTINE:
        _quarantine(transaction, unit)
    if decision.other_board:
        held = decision.verdict is UnitVerdict.QUARANTINE
        data = {"serial": unit.serial, "model": unit.model, "fingerprint": fingerprint, "held": held}
        note(transaction, "unit.cloned", now_s=now_s, device_id=unit.device_id, data=data)
    if decision.verdict is not UnitVerdict.PASS:
        raise UnitRefused(decision.reason)


def _refuse_blocked_serial(transaction: Transaction, model: str, serial: str | None) -> None:
    blocked = transaction.units.blocked(model, serial) if serial else None
    if blocked is not None:
        because = f": {blocked}" if blocked else ""
        detail = f"the serial number {serial!r} is blocked at this HQ{because}"
        raise Refusal(ProblemType.BLOCKED_UNIT, detail, retry_after_s=ASK_AGAIN_S)


def _refuse_stranger(hello: Hello, device: Device | None) -> None:
    if device is None and _FACTORY in hello.report.used:
        raise Refusal(
            ProblemType.UNKNOWN_UNIT,
            "this unit's factory key is in no manifest of this HQ: import the manifest of its batch"
            " (otscert factory import)",
            retry_after_s=3600,
        )


def _quarantine(transaction: Transaction, unit: Unit) -> None:
    transaction.units.set_state(unit.thumbprint, UnitState.QUARANTINED)
    device = transaction.devices.get(unit.device_id) if unit.device_id else None
    if device is not None and device.state is not DeviceState.RETIRED:
        transaction.devices.set_state(device.id, move(device.state, DeviceEvent.QUARANTINE))
