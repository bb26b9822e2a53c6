"""What every process can do beside its roles: see what is wrong and tell people. One of them does, at a time."""

from __future__ import annotations

from contextlib import AsyncExitStack
from functools import partial

from otscert.roles.parts import Parts, Works
from otscert.roles.role import Role
from otscert.service.alert_facts import Watched
from otscert.service.alert_sending import Sending
from otscert.service.alerting import Alerting
from otscert.service.leader import Leader


def start_alerts(parts: Parts, stack: AsyncExitStack) -> Works:
    """Look and tell for as long as the process runs."""
    config, hq, store, live = parts.config, parts.hq, parts.store, parts.live
    alerting = Alerting(
        hq=hq,
        store=store,
        signals=parts.signals,
        watched=Watched(
            issuers=[each.name for each in config.issuers],
            models=live.models,
            checkin_s=config.checkin_s,
            away_boxes=lambda: live.alerts.away_boxes,
            data_dir=config.data_dir,
            pki=parts.pki if Role.API in parts.roles else None,
        ),
        channels=live.channels,
        digest_at_s=lambda: live.alerts.digest_at_s,
    )
    sending = Sending(hq=hq, store=store, signals=parts.signals, channels=live.channels)
    stack.push_async_callback(sending.stop)
    leader = Leader(hq=hq, store=store)
    return [partial(leader.lead, "alerts", alerting.work), partial(leader.lead, "messages", sending.work)]
