"""What a box is told whose name was taken back: start over, or stop asking."""

from __future__ import annotations

from otscert.domain.device import Device, Retired
from otscert.service.refusal import Refusal
from otscert_agent.wire.problems import ProblemType

_SENTENCES = {
    Retired.RESET: "HQ's operator has reset this box: it starts over and gets another name",
    Retired.TRANSFER: "this box has another owner now: it starts over and gets another name",
    Retired.REPLACED: "the unit has enrolled again since: this identity is over",
    Retired.REMOVED: "HQ's operator has taken this box out of service; its certificate ends by itself",
}


def refuse_retired(device: Device) -> None:
    """Raise `Refusal` when the device's name was taken back; its identity may do nothing any more."""
    if device.retired is None:
        return
    kind = ProblemType.RETIRED if device.retired is Retired.REMOVED else ProblemType.START_OVER
    raise Refusal(kind, _SENTENCES[device.retired], retry_after_s=24 * 3600 if kind is ProblemType.RETIRED else None)
