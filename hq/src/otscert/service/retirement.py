"""A device ends: its name leaves DNS for ever, its certificate is revoked or left to expire by policy."""

from __future__ import annotations

from dataclasses import replace

from otscert.domain.device import Device, DeviceEvent, Retired, move
from otscert.store.transaction import Transaction

CESSATION_OF_OPERATION = 5  # CRLReason, RFC 5280 section 5.3.1


def retire(transaction: Transaction, device: Device, why: Retired, *, revoke: bool, now_s: int) -> Device:
    """Take the device's name back. The zone lets it go at once or within housekeeping's next round (`in_dns`)."""
    ended = replace(device, state=move(device.state, DeviceEvent.RETIRE), retired=why)
    transaction.devices.save(ended, seen_token_hash=device.ratchet.token_hash)
    if revoke:
        for certificate in transaction.certificates.valid_of(device.id, now_s=now_s):
            transaction.revocations.ask(certificate.sha256, reason=CESSATION_OF_OPERATION, now_s=now_s)
    transaction.events.append(
        "device.retired",
        now_s=now_s,
        device_id=device.id,
        data={"why": why, "label": device.label, "revoked": revoke},
    )
    return ended
