"""A box that was admitted, as HQ knows it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum

from otscert.domain.errors import IllegalMove
from otscert.domain.ratchet import Ratchet

MAX_UNSERVED = 2
"""After this many certificates in a row that were never seen served, only a person re-arms the device."""


class DeviceState(StrEnum):
    ACTIVE = "active"
    FROZEN = "frozen"  # two boxes share its identity; no orders until a person decides
    QUARANTINED = "quarantined"  # a person, or two boards with one factory key: no orders until a person decides
    RETIRED = "retired"  # its name was taken back for ever; `retired` says why


class DeviceEvent(StrEnum):
    FREEZE = "freeze"
    QUARANTINE = "quarantine"
    REARM = "rearm"
    RETIRE = "retire"


class Retired(StrEnum):
    """Why a device ended, which decides what its box is told when it calls."""

    RESET = "reset"  # by HQ's operator: the box starts over and gets another name
    TRANSFER = "transfer"  # the same, for another owner
    REPLACED = "replaced"  # the unit enrolled again (factory reset): this identity is nobody's
    REMOVED = "removed"  # out of service: it is told to stop asking


_A, _F, _Q, _R = DeviceState.ACTIVE, DeviceState.FROZEN, DeviceState.QUARANTINED, DeviceState.RETIRED
MOVES: dict[tuple[DeviceState, DeviceEvent], DeviceState] = {
    (_A, DeviceEvent.FREEZE): _F,
    (_A, DeviceEvent.QUARANTINE): _Q,
    (_A, DeviceEvent.REARM): _A,
    (_A, DeviceEvent.RETIRE): _R,
    (_F, DeviceEvent.FREEZE): _F,
    (_F, DeviceEvent.QUARANTINE): _Q,
    (_F, DeviceEvent.REARM): _A,
    (_F, DeviceEvent.RETIRE): _R,
    (_Q, DeviceEvent.FREEZE): _Q,
    (_Q, DeviceEvent.QUARANTINE): _Q,
    (_Q, DeviceEvent.REARM): _A,
    (_Q, DeviceEvent.RETIRE): _R,
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
    unit: str | None = None
    """Thumbprint of the factory key that said its hello; None for a box without factory secret."""
    tags: tuple[str, ...] = ()
    """What the webhook called it."""
    retired: Retired | None = None
    in_dns: bool = True
    """Whether the zone holds its name: not when it is retired or was not seen for long."""
    serving_since_s: int | None = None
    """Since when its web server presents its newest certificate; None: it does not."""


class Retiring(Enum):
    RETIRE = "retire"
    CHANGE = "change why"
    NOTHING = "nothing"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True, kw_only=True)
class RetiringDecision:
    verdict: Retiring
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderPermission:
    allowed: bool
    reason: str


_DECIDE = "HQ's operator has to decide (otscert device rearm)"
_NO_ORDERS = {
    DeviceState.FROZEN: f"two boxes share this identity; {_DECIDE}",
    DeviceState.QUARANTINED: f"this box is quarantined; {_DECIDE}",
    DeviceState.RETIRED: "this name was taken back for ever",
}


def judge_retiring(device: Device, why: Retired) -> RetiringDecision:
    """Decide what becomes of a device whose name is to be taken back for this reason."""
    if device.retired is None:
        return RetiringDecision(verdict=Retiring.RETIRE, reason="its name is taken back now")
    if device.retired is Retired.REPLACED:
        return RetiringDecision(
            verdict=Retiring.REFUSE, reason="its unit has enrolled again since, and is another box of the list now"
        )
    if (device.retired is Retired.REMOVED) is (why is Retired.REMOVED):
        return RetiringDecision(verdict=Retiring.NOTHING, reason="its name was taken back already")
    return RetiringDecision(
        verdict=Retiring.CHANGE, reason="its name was taken back already; its box is told otherwise"
    )


def may_work(device: Device) -> OrderPermission:
    """Is anything done for this device's orders at a CA? Asked before an order is begun, and before it is finalized."""
    if device.state in _NO_ORDERS:
        return OrderPermission(allowed=False, reason=_NO_ORDERS[device.state])
    if not device.in_dns:
        return OrderPermission(allowed=False, reason="this box was not seen for long; its order goes on when it calls")
    return OrderPermission(allowed=True, reason="in good standing")


def may_order(device: Device) -> OrderPermission:
    """May this device be given another certificate?"""
    if device.state in _NO_ORDERS:
        return OrderPermission(allowed=False, reason=_NO_ORDERS[device.state])
    if device.unserved >= MAX_UNSERVED:
        return OrderPermission(
            allowed=False,
            reason=f"the last {device.unserved} certificates were never seen served; "
            "check the box's web server, then HQ's operator runs otscert device rearm",
        )
    return OrderPermission(allowed=True, reason="in good standing")
