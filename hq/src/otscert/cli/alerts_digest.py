"""Makes the digest of the last day from the database, as a running HQ does."""

from __future__ import annotations

import secrets

from otscert.cli import database
from otscert.config import Config
from otscert.domain.alert_digest import digest
from otscert.domain.alert_message import Message
from otscert.service.alert_facts import Watched, numbers
from otscert.store.transaction import Transaction


def make(config: Config, *, now_s: int) -> Message:
    watched = Watched(
        issuers=[each.name for each in config.issuers],
        models=config.models,
        checkin_s=config.checkin_s,
        away_boxes=lambda: config.alerts.away_boxes,
        data_dir=config.data_dir,
        pki=None,
    )

    def work(transaction: Transaction) -> Message:
        return digest(
            transaction.alerts.all(),
            numbers(transaction, watched, channels=config.alerts.names, now_s=now_s),
            hq=config.zone.origin,
            url=config.public_url,
            message_id=secrets.token_hex(12),
            now_s=now_s,
        )

    return database.read(config, work)
