"""Alerts to a server of the maker's, as JSON that is signed as the questions of docs/webhook.md are."""

from __future__ import annotations

from collections.abc import Callable

from otscert.domain.alert_message import Message
from otscert.domain.webhook import signed_headers
from otscert.notify.channel_config import AlertWebhookConfig
from otscert.notify.errors import ChannelUnusable, NotDelivered, TrustFileUnusable
from otscert.notify.https import HttpsSender

TOTAL_S = 10.0


class AlertWebhook:
    """A channel. For one event loop; use `aclose` when done. Raises `ChannelUnusable` when it is made."""

    def __init__(self, config: AlertWebhookConfig, *, now_s: Callable[[], int]) -> None:
        self._config = config
        self._now_s = now_s
        try:
            self._sender = HttpsSender(networks=config.networks, trust_file=config.trust_file, total_s=TOTAL_S)
        except TrustFileUnusable as error:
            raise ChannelUnusable(f"{error}; the setting is alerts.webhook_trust_file") from error

    async def send(self, message: Message) -> None:
        """Send it; raise `NotDelivered` unless the server answers 2xx."""
        body = message.body()
        headers = signed_headers(body, key=message.id, secret=self._config.secret, now_s=self._now_s())
        answer = await self._sender.post(self._config.url, body, headers)
        if 300 <= answer.status < 400:
            raise NotDelivered(f"it answered {answer.status}; redirects are not followed: correct alerts.webhook_url")
        if not 200 <= answer.status < 300:
            raise NotDelivered(f"it answered {answer.status}, not 2xx; its own log says why")

    async def aclose(self) -> None:
        await self._sender.aclose()
