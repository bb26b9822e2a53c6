"""An operator has certificates replaced: the fleet is looked through in pages, what fits is marked, boxes do the rest.

Each page is one transaction that also says how far the look has come, so a kill between two of them costs nothing: the
same command goes on where it ended. What a mark means for a box is in `recalls`, who takes marks away in `upkeep`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from otscert.domain.budget import Rank
from otscert.domain.recall import CrlReason, Where, from_json, matches, to_json
from otscert.store.incidents import Found, Incident
from otscert.store.transaction import Transaction

AT_ONCE = 500
"""Devices, or serial numbers, of one page."""
_LAST = "~"
"""After every id, serial number and fingerprint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Certificates that fit, of one part of the fleet; `place` is its end, None when nothing is left after it."""

    found: Sequence[Found]
    place: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """`again`: the same selection is being replaced already, and is looked through once more or to its end."""

    incident: Incident
    again: bool


def look(
    transaction: Transaction, where: Where, serials: Sequence[str], *, place: str, now_s: int, limit: int = AT_ONCE
) -> Page:
    """The certificates after `place` that fit and have not ended; `serials` is the sorted list, if one was given."""
    incidents = transaction.incidents
    end: str | None
    if where.serials is not None:
        first = bisect_right(serials, place)
        part = serials[first : first + limit]
        rows = incidents.of_serials(part, now_s=now_s) if part else []
        end = part[-1] if first + limit < len(serials) else None
    elif where.certificate is not None:
        one = incidents.of_certificate(where.certificate)
        rows, end = [one] if one is not None and one.not_after_s > now_s else [], None
    elif where.key is not None:
        rows, end = incidents.of_key(where.key, now_s=now_s), None
    else:
        rows, end = incidents.of_devices(after_id=place, model=where.model, now_s=now_s, limit=limit)
    return Page(found=[row for row in rows if matches(where, row.candidate)], place=end)


def begin(
    transaction: Transaction,
    where: Where,
    *,
    revoke: CrlReason | None,
    reason: str,
    now_s: int,
    new_id: Callable[[], str],
) -> Begun:
    """Start an incident, or go on with the one that was started for the same and has not ended."""
    text, code = to_json(where), None if revoke is None else int(revoke)
    for incident in transaction.incidents.running():
        if incident.filter == text and incident.revoke_reason == code:
            if incident.marked_s is not None:
                transaction.incidents.look_again(incident.id)
            return Begun(incident=incident, again=True)
    incident = Incident(id=new_id(), reason=reason, filter=text, revoke_reason=code, started_s=now_s)
    transaction.incidents.add(incident)
    data = {"incident": incident.id, "reason": reason, "filter": text, "revoke": revoke.word if revoke else None}
    transaction.events.append("incident.started", now_s=now_s, data=data)
    return Begun(incident=incident, again=False)


def mark_page(
    transaction: Transaction, incident_id: str, serials: Sequence[str], *, now_s: int, limit: int = AT_ONCE
) -> Incident | None:
    """Mark what fits in the next part of the fleet; returns the incident as it is now, None when it is gone or ended.

    Nothing is left to look through when its `marked_s` is set.
    """
    incident = transaction.incidents.get(incident_id)
    if incident is None or incident.ended_s is not None or incident.marked_s is not None:
        return incident if incident is not None and incident.ended_s is None else None
    page = look(transaction, from_json(incident.filter), serials, place=incident.place, now_s=now_s, limit=limit)
    marked = idle = 0
    for found in page.found:
        if found.candidate.issued_at_s > incident.started_s:
            continue  # it was issued to replace one
        if incident.revoke_reason == CrlReason.KEY_COMPROMISE:
            compromise(transaction, found, now_s=now_s)
        if not found.current:
            idle += 1
            if incident.revoke_reason is not None:
                transaction.revocations.ask(found.candidate.sha256, reason=incident.revoke_reason, now_s=now_s)
        elif _takes(transaction, incident, found):
            marked += 1
            transaction.incidents.mark(found.candidate.sha256, incident.id)
            transaction.orders.raise_rank(found.device_id, Rank.INCIDENT)
    transaction.incidents.looked_through(
        incident.id,
        place=_LAST if page.place is None else page.place,
        marked=marked,
        idle=idle,
        all_s=now_s if page.place is None else None,
    )
    return transaction.incidents.get(incident_id)


def compromise(transaction: Transaction, found: Found, *, now_s: int) -> None:
    """Others have the certificate's key: it is never accepted again, and the certificate is revoked at once."""
    if transaction.verified_keys.compromise(found.candidate.key, now_s=now_s):
        data = {"spki_sha256": found.candidate.key.hex(), "model": found.candidate.model}
        transaction.events.append("key.compromised", now_s=now_s, device_id=found.device_id, data=data)
    transaction.revocations.ask(found.candidate.sha256, reason=CrlReason.KEY_COMPROMISE, now_s=now_s)


def end(transaction: Transaction, incident_id: str, *, now_s: int, by_itself: bool) -> Incident | None:
    """Let boxes be: what was not replaced yet stays. Returns the incident, None when there is none with this id."""
    incident = transaction.incidents.get(incident_id)
    if incident is not None and transaction.incidents.end(incident_id, now_s=now_s):
        data = {
            "incident": incident_id,
            "replaced": incident.replaced,
            "released": incident.released,
            "left": incident.left,
            "by_itself": by_itself,
        }
        transaction.events.append("incident.ended", now_s=now_s, data=data)
    return transaction.incidents.get(incident_id)


def _takes(transaction: Transaction, incident: Incident, found: Found) -> bool:
    """Whether this incident marks a certificate that an earlier one may have marked: the one that does more has it."""
    if found.recall == incident.id:
        return False
    before = transaction.incidents.get(found.recall) if found.recall is not None else None
    if before is None or before.ended_s is not None:
        return True
    if before.revoke_reason is not None and incident.revoke_reason is None:
        return False
    transaction.incidents.released(found.candidate.sha256, before.id)
    return True
