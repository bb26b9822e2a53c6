"""RNG canaries: two equal ones prove that a model's generator repeats, while the keys made from it are still good.

Each start of a box draws bytes from its kernel and reports their hash. The same hash from the same start of the same
box is one observation said twice; from anything else it is a proof. Silence proves nothing (firstboot.md 1.7).
"""

from __future__ import annotations

import re

from otscert.domain.device import Device
from otscert.domain.quota import Quota
from otscert.service.notes import note
from otscert.store.canaries import Canary
from otscert.store.transaction import Transaction

RNG_REPEATS = "rng.repeats"
_SHA256_HEX = re.compile(r"[0-9a-f]{64}\Z")
STARTS_PER_DEVICE = Quota(count=50, period_s=24 * 3600)
"""A box that starts more often than this is not worth a row for each."""


_COMPARED = 8


def watch_canary(transaction: Transaction, device: Device, *, sha256: str, boot: int, now_s: int) -> None:
    """Enter a device's canary; mark its model when another start of any box had the same."""
    if _SHA256_HEX.match(sha256) is None:  # a box without a kernel that can be asked sends an empty one
        return
    if not transaction.quotas.spend(f"canary:{device.id}", STARTS_PER_DEVICE, now_ms=now_s * 1000).allowed:
        return
    mine = Canary(device_id=device.id, boot=boot, model=device.model)
    if not transaction.canaries.enter(sha256, mine, now_s=now_s):
        return  # this start has said it before, and was compared then
    others = transaction.canaries.others(sha256, mine, limit=_COMPARED)
    before = next((other for other in others if not _same_start(transaction, device, mine, other)), None)
    if before is None:
        return
    story: dict[str, object] = {
        "canary": sha256,
        "boot": boot,
        "device_before": before.device_id,
        "boot_before": before.boot,
        "model_before": before.model,
    }
    note(transaction, RNG_REPEATS, now_s=now_s, device_id=device.id, data=story)
    for model in sorted({device.model, before.model}):
        transaction.canaries.mark(model, RNG_REPEATS, now_s=now_s, data={"device": device.id, **story})


def _same_start(transaction: Transaction, device: Device, mine: Canary, other: Canary) -> bool:
    """Whether it is one start of one box, which had another identity before it was told to start over."""
    before = transaction.devices.get(other.device_id)
    if before is None or before.retired is None or other.boot != mine.boot:
        return False
    return before.ratchet.fingerprint == device.ratchet.fingerprint and before.unit == device.unit
