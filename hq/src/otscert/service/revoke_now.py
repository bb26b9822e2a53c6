"""An operator revokes certificates at once (RFC 8555, section 7.6); boxes that use them get other ones.

The CA is asked by `revocations`; that the box is told is an incident of its own, see `incidents`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from otscert.domain.recall import CrlReason, Where
from otscert.service import incidents
from otscert.store.incidents import Found, Incident
from otscert.store.transaction import Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class Revoked:
    """`asked` are the certificates that the CA is asked to revoke, those with the same key included."""

    asked: tuple[str, ...]
    incidents: tuple[Incident, ...]
    """What makes the boxes that use them get other ones."""


def revoke_now(
    transaction: Transaction,
    found: Sequence[Found],
    *,
    reason: CrlReason,
    why: str,
    now_s: int,
    new_id: Callable[[], str],
) -> Revoked:
    """Have these certificates revoked; those that have ended are left out.

    A compromised key takes every certificate with it that has it, whoever asked for one of them. Who ends the service
    of a box does not want it to get another certificate.
    """
    valid = [each for each in found if each.not_after_s > now_s]
    wheres = {Where(certificate=each.candidate.sha256): None for each in valid if each.current}
    asked = {each.candidate.sha256: None for each in valid}
    if reason is CrlReason.KEY_COMPROMISE:
        wheres = {Where(key=each.candidate.key): None for each in valid}
        for each in valid:
            same = transaction.incidents.of_key(each.candidate.key, now_s=now_s)
            asked |= {other.candidate.sha256: None for other in same}
    elif reason is CrlReason.CESSATION_OF_OPERATION:
        wheres = {}
    for sha256 in asked:
        transaction.revocations.ask(sha256, reason=reason, now_s=now_s)
    begun = []
    for where in wheres:
        revoke = reason if reason is CrlReason.KEY_COMPROMISE else None
        incident = incidents.begin(transaction, where, revoke=revoke, reason=why, now_s=now_s, new_id=new_id).incident
        marked = incidents.mark_page(transaction, incident.id, (), now_s=now_s)
        if marked is not None:
            begun.append(marked)
    return Revoked(asked=tuple(asked), incidents=tuple(begun))
