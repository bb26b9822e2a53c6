"""Finds the box that an operator means, and shows it as the document that `--json` prints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from otscert.cli import show
from otscert.cli.errors import CommandFailed
from otscert.cli.near_names import did_you_mean
from otscert.config import Config
from otscert.domain.device import Device, may_order
from otscert.domain.names import certificate_names
from otscert.domain.unit import Unit
from otscert.store.transaction import Transaction

_SHOWN_ALIKE = 5


def find_device(transaction: Transaction, config: Config, text: str) -> Device:
    """The box with this id, label, name or serial number; by serial number the one in service."""
    found = _find(transaction, config, text)
    if found is None:
        raise _nobody(transaction, text, transaction.units.named(text))
    return found


def find_one(transaction: Transaction, config: Config, text: str) -> Device:
    """As `find_device`, for what cannot be undone: a serial number of several boxes in service names none of them."""
    _refuse_several(transaction, text)
    device = find_device(transaction, config, text)
    if not _is_named(device, config, text):
        _refuse_a_units_words(transaction, device, text)
    return device


def find_box(transaction: Transaction, config: Config, text: str) -> tuple[Device | None, Unit | None]:
    """A box or the stamped unit that it is: also one that has not enrolled yet, also by short id."""
    device = _find(transaction, config, text)
    # A box may say any serial number; the manifest's word for a unit counts before it.
    unit = None if device is not None and _is_named(device, config, text) else _unit(transaction, text)
    if unit is not None:
        return transaction.devices.get(unit.device_id) if unit.device_id else None, unit
    if device is None:
        raise _nobody(transaction, text, or_unit=True)
    _refuse_several(transaction, text)
    return device, transaction.units.by_thumbprint(device.unit) if device.unit else None


def find_unit(transaction: Transaction, text: str) -> Unit:
    """The stamped unit with this serial number or short id."""
    unit = _unit(transaction, text)
    if unit is None:
        raise CommandFailed(
            f"no stamped unit has the serial number or short id {show.printable(text)!r}: otscert factory list shows"
            " the batches that were imported"
        )
    return unit


def device_view(device: Device, config: Config) -> dict[str, Any]:
    permission = may_order(device)
    return {
        "id": device.id,
        "label": device.label,
        "names": list(certificate_names(device.label, config.zone.origin)),
        "model": device.model,
        "serial": device.serial,
        "firmware": device.firmware,
        "state": device.state.value,
        "may_order": permission.allowed,
        "may_order_reason": permission.reason,
        "retired": device.retired.value if device.retired else None,
        "in_dns": device.in_dns and device.retired is None,
        "policy": device.policy,
        "tags": list(device.tags),
        "unit": device.unit,
        "contribution": device.contribution,
        "source": device.source,
        "addresses": list(device.addresses),
        "admitted_at": show.moment(device.admitted_at_s),
        "last_seen_at": show.moment(device.last_seen_s),
        "last_seen_s": device.last_seen_s,
        "served_sha256": device.served_sha256,
        "unserved": device.unserved,
    }


def unit_view(unit: Unit) -> dict[str, Any]:
    """A stamped unit; never its keys or the hash of its setup code."""
    return {
        "model": unit.model,
        "serial": unit.serial,
        "short_id": unit.short_id,
        "batch": unit.batch,
        "state": unit.state.value,
        "device": unit.device_id,
        "board_known": unit.fingerprint is not None,
    }


def _find(transaction: Transaction, config: Config, text: str) -> Device | None:
    return transaction.devices.find(text) or transaction.devices.find(_label(config, text))


def _unit(transaction: Transaction, text: str) -> Unit | None:
    units = transaction.units.named(text)
    if len(units) > 1:
        models = " and ".join(sorted(unit.model for unit in units))
        raise CommandFailed(f"units of the models {models} have the serial number {text}: give the short id instead")
    return units[0] if units else None


def _label(config: Config, text: str) -> str:
    return text.rstrip(".").lower().removesuffix(f".{config.zone.origin}")


def _is_named(device: Device, config: Config, text: str) -> bool:
    """Whether the text is what HQ calls this box, and not a serial number."""
    return device.id == text or device.label in {text, _label(config, text)}


def _refuse_a_units_words(transaction: Transaction, device: Device, text: str) -> None:
    for unit in transaction.units.named(text):
        if unit.thumbprint != device.unit:
            raise CommandFailed(
                f"{show.printable(text)!r} is a stamped unit of model {unit.model}, and the box {device.id}"
                f" ({device.label}) says that it is its serial number, which it is not by the manifest: give an id"
            )


def _refuse_several(transaction: Transaction, text: str) -> None:
    alike = [device for device in transaction.devices.of_serial(text, limit=_SHOWN_ALIKE) if device.retired is None]
    if len(alike) > 1:
        ids = ", ".join(f"{device.id} ({device.label})" for device in alike)
        raise CommandFailed(f"{show.printable(text)!r} is the serial number of several boxes: give an id. {ids}")


def _nobody(transaction: Transaction, text: str, units: Sequence[Unit] = (), *, or_unit: bool = False) -> CommandFailed:
    for unit in units:
        what = f"{show.printable(text)!r} is a stamped unit of batch {unit.batch}"
        if unit.device_id is not None:
            return CommandFailed(f"{what}, which is the box {unit.device_id}: give that id")
        return CommandFailed(f"{what}, not enrolled yet: otscert factory show {unit.short_id}")
    what = "no box has the id, label, name or serial number"
    more = ", and no unit the short id or serial number" if or_unit else ""
    meant = did_you_mean(transaction, text)
    return CommandFailed(f"{what} {show.printable(text)!r}{more}:{meant} otscert device list shows all boxes")
