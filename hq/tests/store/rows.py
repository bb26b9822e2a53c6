"""Rows to put into a store."""

from __future__ import annotations

from typing import Any

from otscert.domain.admission import Answer
from otscert.domain.device import Device, DeviceState
from otscert.domain.order import Order, OrderState
from otscert.domain.ratchet import Ratchet
from otscert.domain.unit import Unit, UnitState
from otscert.store.certificates import Certificate
from otscert.store.hellos import HelloRow
from otscert.store.requests import AdmissionRequest
from otscert.store.transaction import Transaction

RATCHET = Ratchet(
    token_hash=b"token", previous_hash=b"previous", last_txid="t0", fingerprint="hardware", last_resync_s=None
)


def device(number: int = 1, **changes: Any) -> Device:
    members: dict[str, Any] = {
        "id": f"d{number}",
        "thumbprint": f"thumb{number}",
        "model": "box",
        "serial": f"S{number}",
        "firmware": "1.0",
        "label": f"label{number}",
        "state": DeviceState.ACTIVE,
        "policy": "open",
        "contribution": "open",
        "source": "jitter",
        "admitted_at_s": 100,
        "last_seen_s": 100,
        "addresses": ("192.168.1.20", "fd00::1"),
        "served_sha256": None,
        "unserved": 0,
        "cmd_seq": 0,
        "ratchet": RATCHET,
        **changes,
    }
    return Device(**members)


def order(number: int = 1, **changes: Any) -> Order:
    members: dict[str, Any] = {
        "id": f"o{number}",
        "device_id": "d1",
        "txid": f"t{number}",
        "label": "label1",
        "names": ("label1.boxes.example.com", "*.label1.boxes.example.com"),
        "csr_der": b"csr",
        "state": OrderState.WAITING,
        "issuer": "ca",
        "profile": None,
        "attempt": 0,
        "url": None,
        "reason": "waiting",
        "created_at_s": 100 + number,
        "next_at_s": 100 + number,
        "certificate_sha256": None,
        **changes,
    }
    return Order(**members)


def certificate(number: int = 1, **changes: Any) -> Certificate:
    members: dict[str, Any] = {
        "sha256": f"{number:064x}",
        "device_id": "d1",
        "order_id": f"o{number}",
        "issuer": "ca",
        "serial": "ff",
        "spki_sha256": b"spki",
        "not_before_s": 100,
        "not_after_s": 200,
        "chain_pem": "-----BEGIN",
        "issued_at_s": 100 + number,
        "served_at_s": None,
        **changes,
    }
    return Certificate(**members)


def hello(number: int = 1, **changes: Any) -> HelloRow:
    members: dict[str, Any] = {
        "txid": f"t{number}",
        "thumbprint": "hello-key",
        "model": "box",
        "serial": None,
        "firmware": "1.0",
        "fingerprint": "hardware",
        "source": "jitter",
        "canary": "00",
        "boot": 1,
        "contribution": "open",
        "unit": None,
        "keeps": None,
        "label": f"label{number}",
        "expected_point": b"\x04",
        "address": "192.0.2.1",
        "device_id": None,
        "expires_at_s": 1000,
        "csr_sha256": None,
        "identity": None,
        **changes,
    }
    return HelloRow(**members)


def fill(transaction: Transaction, *rows: Device | Order | Certificate) -> None:
    """Add rows, each to its table."""
    for row in rows:
        if isinstance(row, Device):
            transaction.devices.add(row)
        elif isinstance(row, Order):
            transaction.orders.add(row)
        else:
            transaction.certificates.add(row)


def unit(number: int = 1, **changes: Any) -> Unit:
    members: dict[str, Any] = {
        "thumbprint": f"u{number}",
        "model": "box",
        "serial": f"S{number}",
        "short_id": f"short{number}",
        "sign_key": bytes(31) + bytes([number]),
        "seal_key": bytes(31) + bytes([number]),
        "setup_hash": b"hash",
        "batch": "first",
        "state": UnitState.STAMPED,
        "device_id": None,
        "fingerprint": None,
        **changes,
    }
    return Unit(**members)


def admission_request(number: int = 1, **changes: Any) -> AdmissionRequest:
    members: dict[str, Any] = {
        "txid": f"t{number}",
        "thumbprint": f"thumb{number}",
        "model": "box",
        "serial": None,
        "firmware": "1.0",
        "fingerprint": "hardware",
        "label": f"label{number}",
        "address": "192.0.2.1",
        "asked_at_s": 100 + number,
        "seen_at_s": 100 + number,
        "approval": Answer.WAITING,
        "decided_by": "",
        "code_hash": b"code" + bytes([number]),
        "code_sealed": b"sealed",
        "last_code_hash": None,
        "code_expires_at_s": 1000,
        "webhook": Answer.NOT_ASKED,
        "webhook_policy": "",
        "webhook_reason": "",
        "webhook_tags": (),
        "webhook_attempt": 0,
        "webhook_next_at_s": 0,
        **changes,
    }
    return AdmissionRequest(**members)
