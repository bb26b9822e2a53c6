"""What an operator does to a box: reset, transfer, retire, quarantine, rearm; each one transaction beside a running HQ.

Everything is idempotent: done a second time it changes nothing and says so. What the box is told, and when, is in
`standing`; what a name's end means for orders and certificates in `retirement`. Does not know who the operator is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from otscert.domain.device import Device, DeviceEvent, DeviceState, Retired, Retiring, judge_retiring, move
from otscert.domain.unit import Unit, UnitState
from otscert.service.retirement import retire
from otscert.store.transaction import Transaction

_AT_LIBERTY = frozenset({UnitState.STAMPED, UnitState.CONFIRMED})


class NotPossible(Exception):
    """The box is not in a state for this; the text says why, and what to do instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """`device` and `unit` as they are now (None: there is none); `changed` is False when it was so already."""

    device: Device | None
    unit: Unit | None
    changed: bool


def end(transaction: Transaction, device: Device, why: Retired, *, revoke: bool, now_s: int, by: str = "") -> Done:
    """Take the box's name back; raises `NotPossible` for one that is another box of the list by now.

    Reset and transfer let it start over; `Retired.REMOVED` does not, nor its factory key where it has one. A box that
    is held does not start over around that: raises `NotPossible`, too.
    """
    decision = judge_retiring(device, why)
    unit = _unit_of(transaction, device)
    if device.state is DeviceState.QUARANTINED and why is not Retired.REMOVED:
        raise NotPossible(f"{device.label} is quarantined: otscert device rearm first, or otscert device retire")
    if decision.verdict is Retiring.REFUSE:
        now_is = f" ({unit.device_id})" if unit is not None else ""
        raise NotPossible(f"{device.label}: {decision.reason}{now_is}; its own name is gone for ever already")
    if decision.verdict is Retiring.RETIRE:
        retire(transaction, device, why, revoke=revoke, now_s=now_s, by=by)
    elif decision.verdict is Retiring.CHANGE:
        transaction.devices.save(replace(device, retired=why), seen_token_hash=device.ratchet.token_hash)
        data = {"why": why, "label": device.label, "before": device.retired, "by": by}
        transaction.events.append("device.retired", now_s=now_s, device_id=device.id, data=data)
    if why is Retired.REMOVED:
        _set_unit(transaction, unit, UnitState.BLOCKED)
    elif unit is not None and unit.state is UnitState.BLOCKED:
        _set_unit(transaction, unit, UnitState.STAMPED)
    return _done(transaction, device, unit, changed=decision.verdict is not Retiring.NOTHING)


def quarantine(transaction: Transaction, device: Device, *, reason: str, now_s: int) -> Done:
    """No certificates for this box until somebody rearms it; its unit cannot start over around that."""
    if device.retired is not None:
        raise NotPossible(f"the name of {device.label} was taken back ({device.retired}): there is nothing to hold")
    unit = _unit_of(transaction, device)
    state = move(device.state, DeviceEvent.QUARANTINE)
    changed = state is not device.state or (unit is not None and unit.state in _AT_LIBERTY)
    if changed:
        transaction.devices.set_state(device.id, state)
        _set_unit(transaction, unit, UnitState.QUARANTINED)
        data = {"reason": reason, "state": device.state}
        transaction.events.append("device.quarantined", now_s=now_s, device_id=device.id, data=data)
    return _done(transaction, device, unit, changed=changed)


def rearm(transaction: Transaction, device: Device | None, unit: Unit | None, *, same_board: bool, now_s: int) -> Done:
    """Let a box order again, and the unit that it is say hello again.

    A unit that was held is taken as whatever board comes next with its factory key; with `same_board` it stays the
    board that it was, and no other one can hold it any more. After a freeze the one box that is left may have the
    older epoch token: it is let in once more.
    """
    if device is not None and device.retired is not None and (unit is None or unit.device_id != device.id):
        raise NotPossible(_gone(device))
    live = device if device is not None and device.retired is None else None
    before = {"state": device.state if device else "", "unit": unit.state if unit else ""}
    changed = False
    if live is not None:
        again = replace(
            live,
            state=move(live.state, DeviceEvent.REARM),
            unserved=0,
            ratchet=live.ratchet if live.state is DeviceState.ACTIVE else replace(live.ratchet, last_resync_s=None),
        )
        changed = again != live
        transaction.devices.save(again, seen_token_hash=live.ratchet.token_hash)
        transaction.orders.wake(live.id, now_s=now_s)
    # A confirmed unit is asked about only when its box needs nothing else: then it is the board that has changed.
    if unit is not None and (same_board or unit.state is not UnitState.CONFIRMED or not changed):
        keeps = same_board and unit.fingerprint is not None
        wanted = UnitState.CONFIRMED if keeps else UnitState.STAMPED
        if unit.state is not wanted:
            changed = True
            if unit.state in {UnitState.QUARANTINED, UnitState.CONFIRMED} and not keeps:
                transaction.units.forget_board(unit.thumbprint)
            _set_unit(transaction, unit, wanted)
    if not changed and live is None and device is not None:
        raise NotPossible(_gone(device))
    if changed:
        data = {**before, "unserved": live.unserved if live else 0, "serial": unit.serial if unit else ""}
        transaction.events.append("device.rearmed", now_s=now_s, device_id=device.id if device else None, data=data)
    return _done(transaction, device, unit, changed=changed)


def block_serial(transaction: Transaction, model: str, serial: str, *, reason: str, now_s: int) -> bool:
    """No box with this serial number says hello any more; False when that was so, and no other reason is given."""
    before = transaction.units.blocked(model, serial)
    if before is not None and reason in {"", before}:
        return False
    transaction.units.block_serial(model, serial, reason=reason, now_s=now_s)
    data = {"model": model, "serial": serial, "reason": reason}
    transaction.events.append("serial.blocked", now_s=now_s, data=data)
    return True


def unblock_serial(transaction: Transaction, model: str, serial: str, *, now_s: int) -> bool:
    """False when it was not blocked."""
    if not transaction.units.unblock_serial(model, serial):
        return False
    transaction.events.append("serial.unblocked", now_s=now_s, data={"model": model, "serial": serial})
    return True


def _gone(device: Device) -> str:
    return (
        f"the name {device.label} was taken back for ever ({device.retired}) and cannot be given again;"
        " after otscert device retire, otscert device reset lets the box start over under a new one"
    )


def _unit_of(transaction: Transaction, device: Device) -> Unit | None:
    """The unit, while it is this device."""
    unit = transaction.units.by_thumbprint(device.unit) if device.unit else None
    return unit if unit is not None and unit.device_id == device.id else None


def _set_unit(transaction: Transaction, unit: Unit | None, state: UnitState) -> None:
    if unit is not None and unit.state is not state:
        transaction.units.set_state(unit.thumbprint, state)


def _done(transaction: Transaction, device: Device | None, unit: Unit | None, *, changed: bool) -> Done:
    return Done(
        device=transaction.devices.get(device.id) if device else None,
        unit=transaction.units.by_thumbprint(unit.thumbprint) if unit else None,
        changed=changed,
    )
