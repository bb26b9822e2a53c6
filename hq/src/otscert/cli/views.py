"""Orders, certificates and events as the documents that `--json` prints; the texts are made from the same ones."""

from __future__ import annotations

from typing import Any

from otscert.cli.show import moment
from otscert.domain.order import TERMINAL, Order
from otscert.domain.recall import Recall
from otscert.domain.renewal import Window, judge_renewal
from otscert.store.certificates import Certificate
from otscert.store.events import Event
from otscert.store.requests import AdmissionRequest
from otscert.store.revocations import Outcome

_DAY_S = 86_400


def order_view(order: Order) -> dict[str, Any]:
    """An order; `next_at` is null when it has ended."""
    return {
        "id": order.id,
        "device": order.device_id,
        "label": order.label,
        "names": list(order.names),
        "state": order.state.value,
        "reason": order.reason,
        "attempt": order.attempt,
        "issuer": order.issuer,
        "profile": order.profile,
        "url": order.url,
        "created_at": moment(order.created_at_s),
        "next_at": None if order.state in TERMINAL else moment(order.next_at_s),
        "certificate_sha256": order.certificate_sha256,
        "replaces": order.replaces,
    }


def certificate_view(certificate: Certificate, *, now_s: int, recall: Recall | None = None) -> dict[str, Any]:
    """A certificate with the days that it has left (negative when it has expired) and the renewal decision."""
    window = certificate.window
    renewal = judge_renewal(
        not_before_s=certificate.not_before_s,
        not_after_s=certificate.not_after_s,
        now_s=now_s,
        window=window,
        recall=recall,
    )
    return {
        "sha256": certificate.sha256,
        "serial": certificate.serial,
        "issuer": certificate.issuer,
        "order": certificate.order_id,
        "not_before": moment(certificate.not_before_s),
        "not_after": moment(certificate.not_after_s),
        "days_left": (certificate.not_after_s - now_s) // _DAY_S,
        "first_served_at": None if certificate.served_at_s is None else moment(certificate.served_at_s),
        "renewal": {
            "due": renewal.due,
            "lane": renewal.lane.value,
            "at": moment(renewal.at_s),
            "reason": renewal.reason,
            "window": None if window is None else _window_view(window, certificate),
            "next_question_at": None if certificate.ari_next_poll_s is None else moment(certificate.ari_next_poll_s),
        },
    }


def ended_certificate_view(certificate: Certificate, outcome: Outcome | None, *, now_s: int) -> dict[str, Any]:
    """The last certificate of an identity that is over; `state` says what became of it."""
    return {
        "sha256": certificate.sha256,
        "serial": certificate.serial,
        "issuer": certificate.issuer,
        "order": certificate.order_id,
        "not_after": moment(certificate.not_after_s),
        "state": _ended(certificate, outcome, now_s=now_s),
    }


def _ended(certificate: Certificate, outcome: Outcome | None, *, now_s: int) -> str:
    if outcome is not None and outcome.done_at_s is not None:
        if not outcome.problem:
            return f"revoked at {moment(outcome.done_at_s)}"
        return f"not revoked: {outcome.problem}"
    if certificate.not_after_s <= now_s:
        return f"ended at {moment(certificate.not_after_s)}"
    if outcome is None:
        return f"left to end by itself at {moment(certificate.not_after_s)}"
    return "to be revoked: HQ asks the CA" + (f"; the last try failed: {outcome.problem}" if outcome.problem else "")


def _window_view(window: Window, certificate: Certificate) -> dict[str, Any]:
    """What the CA suggests (RFC 9773), and the moment that HQ has chosen in it."""
    return {
        "start": moment(window.start_s),
        "end": moment(window.end_s),
        "first_named_at": moment(window.told_s),
        "chosen": moment(window.at_s),
        "explanation": certificate.ari_explanation,
    }


def event_view(event: Event) -> dict[str, Any]:
    return {
        "id": event.id,
        "at": moment(event.at_s),
        "kind": event.kind,
        "device": event.device_id,
        "order": event.order_id,
        "data": event.data,
    }


def request_view(request: AdmissionRequest) -> dict[str, Any]:
    """A waiting enrolment; never its code."""
    return {
        "txid": request.txid,
        "model": request.model,
        "serial": request.serial,
        "firmware": request.firmware,
        "fingerprint": request.fingerprint,
        "label": request.label,
        "address": request.address,
        "asked_at": moment(request.asked_at_s),
        "last_seen_at": moment(request.seen_at_s),
        "approval": request.approval.value,
        "decided_by": request.decided_by or None,
        "code_expires_at": moment(request.code_expires_at_s) if request.code_expires_at_s else None,
        "webhook": request.webhook.value,
        "webhook_attempts": request.webhook_attempt,
        "webhook_reason": request.webhook_reason or None,
    }
