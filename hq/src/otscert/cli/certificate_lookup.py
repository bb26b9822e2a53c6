"""Finds the certificates that an operator means, and shows them as the documents that `--json` prints."""

from __future__ import annotations

import re
from typing import Any

from otscert.cli import show
from otscert.cli.device_lookup import find_one
from otscert.cli.errors import CommandFailed
from otscert.cli.views import certificate_view
from otscert.config import Config
from otscert.domain.recall import WhereError, parse_serial
from otscert.service.recalls import recall_of
from otscert.store.certificates import Certificate
from otscert.store.transaction import Transaction

SHOWN = 12
"""How many digits of a SHA-256 people are shown: enough to name a certificate by."""
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_PREFIX = re.compile(rf"[0-9a-f]{{{SHOWN},63}}\Z")
_MOST = 100
"""Certificates of one box."""


def find_certificates(transaction: Transaction, config: Config, text: str) -> list[Certificate]:
    """One by fingerprint, how it begins, or serial; all of a box, newest first, by its id, label, name or serial."""
    plain = text.replace(":", "").lower()
    if _SHA256.match(plain) is not None:
        certificate = transaction.certificates.get(plain)
        if certificate is None:
            raise CommandFailed(f"HQ has no certificate with the SHA-256 {plain}: otscert cert list shows those it has")
        return [certificate]
    same = _of_serial(transaction, text)
    if len(same) > 1:
        known = ", ".join(f"{each.sha256} ({each.issuer})" for each in same)
        raise CommandFailed(f"several certificates have the serial number {text}: give a SHA-256. {known}")
    if not same and _PREFIX.match(plain) is not None:
        same = transaction.certificates.beginning(plain, limit=2)
        if len(same) > 1:
            raise CommandFailed(f"several SHA-256 begin with {plain}: give more of it")
    if same:
        return same
    device = find_one(transaction, config, text)
    found = transaction.certificates.all_of(device.id, limit=_MOST)
    if not found:
        raise CommandFailed(f"{device.label} has no certificate yet: otscert device show {device.label} says why")
    return found


def view(transaction: Transaction, certificate: Certificate, *, now_s: int) -> dict[str, Any]:
    """A certificate with its box, and what becomes of it."""
    device = transaction.devices.get(certificate.device_id)
    outcome = transaction.revocations.outcome(certificate.sha256)
    newest = transaction.certificates.newest(certificate.device_id)
    recall = recall_of(transaction, certificate)
    return {
        **certificate_view(certificate, now_s=now_s, recall=recall),
        "key_sha256": certificate.spki_sha256.hex(),
        "issued_at": show.moment(certificate.issued_at_s),
        "device": certificate.device_id,
        "label": device.label if device else None,
        "model": device.model if device else None,
        "served": device is not None and device.served_sha256 == certificate.sha256,
        "newest": newest is not None and newest.sha256 == certificate.sha256,
        "identity_over": certificate.replaced,
        "incident": recall.incident if recall is not None else None,
        "revocation": None
        if outcome is None
        else {
            "done_at": show.moment(outcome.done_at_s) if outcome.done_at_s is not None else None,
            "problem": outcome.problem or None,
        },
    }


def state_of(document: dict[str, Any]) -> str:
    """What a certificate is at the moment, in words: the first of these that is so."""
    revocation = document["revocation"] or {"done_at": "", "problem": "nobody asked"}
    states = (
        (bool(revocation["done_at"]) and revocation["problem"] is None, "revoked"),
        (document["days_left"] < 0, "ended"),
        (revocation["done_at"] is None, "being revoked"),
        (document["incident"] is not None, "recalled"),
        (document["identity_over"], "its box has started over"),
        (document["newest"] and document["served"], "in use"),
        (document["newest"], "not seen served yet"),
        (document["served"], "served, a newer one is there"),
    )
    return next((state for is_so, state in states if is_so), "replaced")


def _of_serial(transaction: Transaction, text: str) -> list[Certificate]:
    try:
        serial = parse_serial(text)
    except WhereError:
        return []
    rows = transaction.incidents.of_serials([serial], now_s=0)
    found = (transaction.certificates.get(row.candidate.sha256) for row in rows)
    return [certificate for certificate in found if certificate is not None]
