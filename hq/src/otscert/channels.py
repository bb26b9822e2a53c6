"""The channels through which people are told, made from the configuration. Sends nothing itself."""

from __future__ import annotations

from collections.abc import Callable

from otscert.config_alerts import MAIL, WEBHOOK, AlertsConfig, apprise_name
from otscert.notify.alert_webhook import AlertWebhook
from otscert.notify.apprise import Service
from otscert.notify.mail import Mail

Made = Mail | AlertWebhook | Service


def make_channels(config: AlertsConfig, *, now_s: Callable[[], int]) -> dict[str, Made]:
    """Return the channels by name, which is what the outbox calls them; raises `ChannelUnusable`."""
    made: dict[str, Made] = {}
    if config.mail is not None:
        made[MAIL] = Mail(config.mail)
    if config.webhook is not None:
        made[WEBHOOK] = AlertWebhook(config.webhook, now_s=now_s)
    for number, url in enumerate(config.apprise_urls, 1):
        made[apprise_name(number)] = Service(url, number=number)
    return made


async def close(channels: dict[str, Made]) -> None:
    """Close the connections of channels that nobody uses any more."""
    for channel in channels.values():
        if isinstance(channel, AlertWebhook):
            await channel.aclose()
