"""What running incidents mean for one box: is its certificate recalled, how often does it call, when is it let go.

An incident that has ended means nothing any more, whatever marks it has left; `incidents` takes these away.
"""

from __future__ import annotations

from otscert.domain.device import Device
from otscert.domain.recall import Candidate, Recall, call_every_s, from_json, matches
from otscert.store.certificates import Certificate
from otscert.store.incidents import Incident
from otscert.store.transaction import Transaction


def recall_of(transaction: Transaction, certificate: Certificate | None) -> Recall | None:
    """Why an operator wants this certificate replaced now; None when nobody does."""
    incident = _incident(transaction, certificate)
    if incident is None:
        return None
    return Recall(incident=incident.id, since_s=incident.started_s, reason=incident.reason)


def call_within_s(
    transaction: Transaction, device: Device, certificate: Certificate | None, *, usual_s: int
) -> int | None:
    """How often the box calls because of incidents; None when none concerns it.

    One that still looks through the fleet concerns whoever fits it, too.
    """
    marked = _incident(transaction, certificate)
    concerning = [marked] if marked is not None else []
    if certificate is not None:
        candidate = candidate_of(certificate, device)
        concerning += [
            incident
            for incident in transaction.incidents.running()
            if incident.marked_s is None and concerns(incident, candidate)
        ]
    return min((call_every_s(left=incident.left, usual_s=usual_s) for incident in concerning), default=None)


def concerns(incident: Incident, candidate: Candidate) -> bool:
    """Whether the certificate is one that the incident is about: not what was issued to replace one."""
    where = from_json(incident.filter)
    return where.serials is None and candidate.issued_at_s <= incident.started_s and matches(where, candidate)


def candidate_of(certificate: Certificate, device: Device) -> Candidate:
    return Candidate(
        sha256=certificate.sha256,
        issuer=certificate.issuer,
        model=device.model,
        key=certificate.spki_sha256,
        issued_at_s=certificate.issued_at_s,
    )


def settle(transaction: Transaction, device_id: str, newest: Certificate, *, now_s: int) -> None:
    """The box serves its newest certificate: what was recalled before it is replaced, and revoked if that was asked."""
    for sha256, incident_id in transaction.incidents.marked_of(device_id):
        incident = transaction.incidents.get(incident_id)
        if sha256 == newest.sha256 or incident is None or incident.ended_s is not None:
            continue
        if transaction.incidents.replaced(sha256, incident_id) and incident.revoke_reason is not None:
            transaction.revocations.ask(sha256, reason=incident.revoke_reason, now_s=now_s)


def _incident(transaction: Transaction, certificate: Certificate | None) -> Incident | None:
    if certificate is None or certificate.recall is None:
        return None
    incident = transaction.incidents.get(certificate.recall)
    return incident if incident is not None and incident.ended_s is None else None
