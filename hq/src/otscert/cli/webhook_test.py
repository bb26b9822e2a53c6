"""Asks a webhook once, for a person who wants to know whether it works."""

from __future__ import annotations

import secrets
import time
from typing import Any

from otscert.cli.errors import CommandFailed
from otscert.config import WebhookConfig
from otscert.domain.webhook import TEST, NotAnAnswer, Question, moment
from otscert.notify.errors import NotDelivered, TrustFileUnusable
from otscert.notify.https import HttpsSender
from otscert.service.webhook import Webhook


async def ask_webhook(model: str, config: WebhookConfig) -> dict[str, Any]:
    """Return what came back, as `--json` prints it."""
    now_s = int(time.time())
    question = Question(
        event=TEST,
        idempotency_key=f"test-{secrets.token_hex(16)}",
        model=model,
        serial="TEST",
        unit=None,
        firmware="test",
        policy="open",
        address="192.0.2.1",  # RFC 5737: for documentation
        fingerprint="test",
        asked_at=moment(now_s),
    )
    try:
        sender = HttpsSender(networks=config.networks, trust_file=config.trust_file)
    except TrustFileUnusable as error:
        raise CommandFailed(f"{error}; the setting is model.{model}.webhook_trust_file") from error
    begin_s = time.monotonic()
    try:
        answer = await Webhook(url=config.url, secret=config.secret, sender=sender).ask(question, now_s=now_s)
    except (NotDelivered, NotAnAnswer) as error:
        return {"ok": False, "problem": str(error), "ms": _ms_since(begin_s)}
    finally:
        await sender.aclose()
    return {
        "ok": True,
        "decision": "allow" if answer.allowed else "deny",
        "reason": answer.reason,
        "tags": list(answer.tags),
        "ms": _ms_since(begin_s),
    }


def _ms_since(begin_s: float) -> int:
    return round((time.monotonic() - begin_s) * 1000)
