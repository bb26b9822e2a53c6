"""What people are told, as metrics: so that whoever watches Prometheus sees whether the other way works."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from prometheus_client.core import Metric

from otscert.api.metrics.families import gauge
from otscert.domain.alerts import Kind, Severity
from otscert.store.transaction import Transaction

_LOOKED = "looked"


@dataclass(frozen=True, slots=True, kw_only=True)
class Telling:
    """Open alerts by kind and severity; messages by channel."""

    alerts: Mapping[tuple[str, ...], int] = field(default_factory=dict)
    looked_s: int | None = None
    waiting: Mapping[str, int] = field(default_factory=dict)
    last_sent: Mapping[str, int] = field(default_factory=dict)


def look(transaction: Transaction, channels: Collection[str]) -> Telling:
    """A few rows, whatever the size of the fleet. `channels` are those of the configuration."""
    alerts: Counter[tuple[str, ...]] = Counter()
    for row in transaction.alerts.all():
        alerts[row.alert.kind, row.alert.severity.value] += row.open
    waiting = Counter(dict.fromkeys(channels, 0))
    waiting.update(posted.channel for posted in transaction.outbox.waiting())
    last_sent = {channel: transaction.outbox.last_sent_s(channel) for channel in channels}
    return Telling(
        alerts=alerts,
        looked_s=transaction.alerts.done_s(_LOOKED),
        waiting=waiting,
        last_sent={channel: at_s for channel, at_s in last_sent.items() if at_s is not None},
    )


def told(telling: Telling) -> Iterator[Metric]:
    nothing: dict[tuple[str, ...], int] = {(kind.value, severity.value): 0 for kind in Kind for severity in Severity}
    yield gauge(
        "alerts",
        "Alerts that people were told of and that are not over (docs/alerts.md).",
        nothing | dict(telling.alerts),
        "kind",
        "severity",
    )
    yield gauge(
        "alerts_looked_timestamp_seconds",
        "When HQ last looked for what is wrong; no series when it never did.",
        {} if telling.looked_s is None else {(): telling.looked_s},
    )
    yield gauge(
        "outbox_waiting",
        "Messages to people that wait for a channel.",
        {(channel,): count for channel, count in telling.waiting.items()},
        "channel",
    )
    yield gauge(
        "outbox_last_sent_timestamp_seconds",
        "When the channel last took a message; no series when it has not yet.",
        {(channel,): at_s for channel, at_s in telling.last_sent.items()},
        "channel",
    )
