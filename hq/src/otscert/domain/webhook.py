"""What a maker's webhook is asked about a box, how the question is signed, and what counts as an answer.

docs/webhook.md tells makers the same. Knows no HTTP but the names of headers, and no store.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

ADMISSION, TEST = "device.admission", "test"
TIMESTAMP, SIGNATURE, KEY = "OTSCert-Timestamp", "OTSCert-Signature", "Idempotency-Key"
MOST_TAGS = 8
MOST_REASON = 200
LONGEST_BACK_OFF_S = 300
_TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,39}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """The members of the JSON object, in their order."""

    event: str
    idempotency_key: str
    model: str
    serial: str | None
    unit: str | None
    """The short id of a stamped unit."""
    firmware: str
    policy: str
    address: str
    fingerprint: str
    asked_at: str

    def body(self) -> bytes:
        return json.dumps(asdict(self), separators=(",", ":")).encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookAnswer:
    allowed: bool
    reason: str
    tags: tuple[str, ...]


class NotAnAnswer(Exception):
    """What came back decides nothing; the text says why."""


def idempotency_key(txid: str) -> str:
    """One question's name, however often it is asked; nothing can be asked of HQ with it, unlike with the txid."""
    return hashlib.sha256(b"otscert/v1/webhook\x00" + txid.encode()).hexdigest()[:32]


def moment(at_s: int) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def signed_headers(body: bytes, *, key: str, secret: bytes, now_s: int) -> dict[str, str]:
    """The headers of a question: the signature covers the moment and the body, and so the key inside of it."""
    signature = hmac.digest(secret, f"{now_s}.".encode() + body, "sha256").hex()
    return {TIMESTAMP: str(now_s), SIGNATURE: f"v1={signature}", KEY: key}


def read_answer(status: int, body: bytes) -> WebhookAnswer:
    """Understand an answer wholly, or raise `NotAnAnswer`: half of one must neither admit nor refuse."""
    if 300 <= status < 400:
        raise NotAnAnswer(f"it answered {status}; redirects are not followed")
    if status != 200:
        raise NotAnAnswer(f"it answered {status}, not 200")
    try:
        members = json.loads(body)
    except (ValueError, RecursionError):
        raise NotAnAnswer("its answer is not JSON") from None
    if not isinstance(members, dict):
        raise NotAnAnswer("its answer is not a JSON object")
    decision = members.get("decision")
    if decision not in ("allow", "deny"):
        raise NotAnAnswer('its answer has no "decision" that is "allow" or "deny"')
    return WebhookAnswer(allowed=decision == "allow", reason=_reason(members), tags=_tags(members))


def _reason(members: Mapping[str, Any]) -> str:
    reason = members.get("reason", "")
    if not isinstance(reason, str):
        raise NotAnAnswer('"reason" in its answer is not a string')
    return "".join(character if character.isprintable() else " " for character in reason)[:MOST_REASON].strip()


def _tags(members: Mapping[str, Any]) -> tuple[str, ...]:
    tags = members.get("tags", [])
    if not isinstance(tags, list) or not all(isinstance(tag, str) and _TAG.fullmatch(tag) for tag in tags):
        raise NotAnAnswer(
            '"tags" in its answer is not a list of words of A-Z a-z 0-9 . _ : - with at most 40 characters'
        )
    if len(tags) > MOST_TAGS:
        raise NotAnAnswer(f'"tags" in its answer has more than {MOST_TAGS} words')
    return tuple(dict.fromkeys(tags))


def back_off_s(attempt: int, *, jitter: float) -> int:
    """How long to wait after the `attempt`-th failure (from 1): 1 s, doubled up to 5 min, a quarter spread."""
    wait_s = min(LONGEST_BACK_OFF_S, 1 << min(attempt - 1, 20))
    return max(1, round(wait_s * (1 - jitter / 4)))
