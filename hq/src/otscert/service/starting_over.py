"""A stamped unit enrols while it is a device already: under a new name, or with new keys under the one that it has.

Which of the two was decided at hello (`HelloRow.keeps`) and is judged again here: names are given at enrolment.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from otscert.domain.device import Device, Retired
from otscert.domain.unit import judge_name
from otscert.service.refusal import Refusal
from otscert.service.retirement import SUPERSEDED, end_identity, retire
from otscert.store.hellos import HelloRow
from otscert.store.transaction import Transaction
from otscert_agent.wire.problems import ProblemType


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """What the zone need not answer any more after the commit: an old name, old challenges."""

    label: str | None = None
    values: tuple[tuple[str, str], ...] = ()


def device_before(transaction: Transaction, row: HelloRow, *, now_s: int) -> Device | None:
    """The device that this unit was until now; None for a first enrolment or when its name was taken back."""
    unit = transaction.units.by_thumbprint(row.unit) if row.unit else None
    before = transaction.devices.get(unit.device_id) if unit is not None and unit.device_id else None
    if row.keeps is not None and (before is None or before.id != row.keeps or before.retired is not None):
        raise Refusal(
            ProblemType.UNKNOWN_TXID, "the name of this transaction is no longer this unit's; say hello again"
        )
    if before is None or before.retired is not None:
        return None
    if row.keeps is None:
        # A unit may have said several hellos before it enrolled with the first: each of them got a name.
        given = [device.admitted_at_s for device in transaction.devices.of_unit(before.unit or "")]
        decision = judge_name(given, now_s=now_s)
        if not decision.new_name:
            raise Refusal(ProblemType.UNKNOWN_TXID, f"this unit had {decision.reason}; say hello again")
    return before


def take_place(
    transaction: Transaction, before: Device | None, fresh: Device, row: HelloRow, *, revoke: bool, now_s: int
) -> tuple[Device, Left]:
    """Enter the admitted device, in the row of the one before where the name is kept; returns it as it is entered."""
    if before is not None and row.keeps == before.id:
        device = replace(fresh, id=before.id, cmd_seq=before.cmd_seq, admitted_at_s=before.admitted_at_s)
        orders = end_identity(transaction, before, revoke=revoke, reason=SUPERSEDED, now_s=now_s)
        transaction.devices.save(device, seen_token_hash=before.ratchet.token_hash)
        values = tuple(value for order in orders for value in transaction.challenges.drop(order.id))
        return device, Left(values=values)
    left = Left()
    if before is not None:
        retire(transaction, before, Retired.REPLACED, revoke=revoke, now_s=now_s)
        left = Left(label=before.label)
    transaction.devices.add(fresh)
    transaction.names.give(row.label, device_id=fresh.id)
    return fresh, left
