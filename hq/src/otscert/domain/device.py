"""A box that was admitted, as HQ knows it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from otscert.domain.errors import IllegalMove
from otscert.domain.ratchet import Ratchet

MAX_UNSERVED = 2
"""After this many certificates in a row that were never seen served, only a person re-arms the device."""


class DeviceState(StrEnum):
    ACTIVE = "active"
    FROZEN = "frozen"  # two boxes share its identity; no orders until a person decides


class DeviceEvent(StrEnum):
    FREEZE = "freeze"
    REARM = "rearm"


MOVES: dict[tuple[DeviceState, DeviceEvent], DeviceState] = {
    (DeviceState.ACTIVE, DeviceEvent.FREEZE): DeviceState.FROZEN,
    (DeviceState.ACTIVE, DeviceEvent.REARM): DeviceState.ACTIVE,
    (DeviceState.FROZEN, DeviceEvent.FREEZE): DeviceState.FROZEN,
    (DeviceState.FROZEN, DeviceEvent.REARM): DeviceState.ACTIVE,
}


def move(state: DeviceState, event: DeviceEvent) -> DeviceState:
    try:
        return MOVES[state, event]
    except KeyError:
        raise IllegalMove("device", state, event) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A row of the device table. Times are Unix seconds; addresses are canonical text."""

    id: str
    thumbprint: str
    """Of its identity key."""
    model: str
    serial: str | None
    firmware: str
    label: str
    state: DeviceState
    policy: str
    """Which admission policy let it in."""
    contribution: str
    source: str
    admitted_at_s: int
    last_seen_s: int
    addresses: tuple[str, ...]
    served_sha256: str | None
    unserved: int
    cmd_seq: int
    ratchet: Ratchet


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderPermission:
    allowed: bool
    reason: str


def may_order(device: Device) -> OrderPermission:
    """May this device be given another certificate?"""
    if device.state is DeviceState.FROZEN:
        return OrderPermission(
            allowed=False, reason="two boxes share this identity; HQ's operator has to decide (otscert device rearm)"
        )
    if device.unserved >= MAX_UNSERVED:
        return OrderPermission(
            allowed=False,
            reason=f"the last {device.unserved} certificates were never seen served; "
            "check the box's web server, then HQ's operator runs otscert device rearm",
        )
    return OrderPermission(allowed=True, reason="in good standing")
