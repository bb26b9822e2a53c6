"""What HQ takes up while it runs when it is told to read its configuration again: models, tokens, webhooks, alerts.

The new configuration is checked wholly before anything of it holds; one that cannot be used changes nothing. Every
other setting needs a restart, and HQ says so.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

from otscert.channels import Made, close, make_channels
from otscert.config import Config, ConfigError, WebhookConfig
from otscert.config_alerts import AlertsConfig
from otscert.domain.admission import Model
from otscert.notify.errors import ChannelUnusable, TrustFileUnusable
from otscert.notify.https import HttpsSender
from otscert.service.ports import Clock, Store
from otscert.service.webhook import Webhook
from otscert.store.errors import StoreUnavailable

_TAKEN_UP = frozenset({"models", "tokens", "webhooks", "alerts", "secret_files"})
Closing = Callable[[], Awaitable[None]]
_log = logging.getLogger(__name__)


class Live:
    """Views that stay the same objects while their content is exchanged; for one event loop.

    Raises `TrustFileUnusable` or `ChannelUnusable`, here and in `take`, before anything was exchanged.
    """

    def __init__(self, config: Config, clock: Clock) -> None:
        self._clock = clock
        self.channels: dict[str, Made] = self._channels(config)
        self.alerts: AlertsConfig = config.alerts
        self.models: dict[str, Model] = dict(config.models)
        self.tokens: dict[str, tuple[bytes, ...]] = dict(config.tokens)
        self.webhooks: dict[str, Webhook] = {}
        self._senders: dict[str, tuple[WebhookConfig, HttpsSender]] = {}
        self._take_webhooks(config.webhooks)

    def take(self, config: Config) -> list[Closing]:
        """Exchange the content; what is returned is to be called, to close what nobody uses any more."""
        channels, before = self._channels(config), dict(self.channels)
        over: list[Closing] = [sender.aclose for sender in self._take_webhooks(config.webhooks)]
        if config.alerts != self.alerts:
            _exchange(self.channels, channels)
            over.append(partial(close, before))
        self.alerts = config.alerts
        _exchange(self.models, config.models)
        _exchange(self.tokens, config.tokens)
        return over

    async def aclose(self) -> None:
        for _, sender in self._senders.values():
            await sender.aclose()
        await close(self.channels)

    def _channels(self, config: Config) -> dict[str, Made]:
        return make_channels(config.alerts, now_s=lambda: self._clock.now_ms() // 1000)

    def _take_webhooks(self, configs: Mapping[str, WebhookConfig]) -> list[HttpsSender]:
        before = self._senders
        after = {
            model: before[model]
            if model in before and before[model][0] == config
            else (config, HttpsSender(networks=config.networks, trust_file=config.trust_file))
            for model, config in configs.items()
        }
        self._senders = after
        webhooks = {
            model: Webhook(url=config.url, secret=config.secret, sender=sender)
            for model, (config, sender) in after.items()
        }
        _exchange(self.webhooks, webhooks)
        return [sender for model, (_, sender) in before.items() if after.get(model, (None, None))[1] is not sender]


@dataclass(slots=True, kw_only=True)
class Rereading:
    """Reads again whenever it is told. `config` is what HQ was started with; `publish` fills the zone anew."""

    config: Config
    live: Live
    store: Store
    clock: Clock
    read: Callable[[], Config]
    publish: Callable[[], Awaitable[None]]

    async def follow(self, told: asyncio.Event) -> None:
        """Read again each time `told` is set, for ever."""
        while True:
            await told.wait()
            told.clear()
            await self.again()

    async def again(self) -> None:
        """Read once; what cannot be used is refused with an event, and what was stays."""
        try:
            config = await asyncio.to_thread(self.read)
            published = _published(self.live.models)
            over = self.live.take(config)
        except (ConfigError, TrustFileUnusable, ChannelUnusable) as error:
            _log.error("config.refused", extra={"reason": str(error), "hint": "HQ goes on with what it has"})
            await self._record("config.refused", {"reason": str(error)})
            return
        try:
            if _published(config.models) != published:
                await self.publish()
        except StoreUnavailable as error:
            _log.error("config.zone_not_filled", extra={"reason": str(error), "hint": "tell HQ again, or restart it"})
        data = {"models": sorted(config.models), "needs_restart": list(_left_out(self.config, config))}
        _log.info("config.read_again", extra=data)
        await self._record("config.read_again", data)
        for closing in over:
            await closing()

    async def _record(self, kind: str, data: Mapping[str, object]) -> None:
        now_s = self.clock.now_ms() // 1000
        try:
            await self.store.write(lambda transaction: transaction.events.append(kind, now_s=now_s, data=data))
        except StoreUnavailable as error:
            _log.warning("config.not_recorded", extra={"reason": str(error)})


def _exchange(view: dict[str, Any], content: Mapping[str, Any]) -> None:
    view.clear()
    view.update(content)


def _published(models: Mapping[str, Model]) -> dict[str, object]:
    """What decides what stands in the zone of a box."""
    return {name: (model.addresses, model.static_address) for name, model in models.items()}


def _left_out(running: Config, read: Config) -> Iterable[str]:
    """The names of what was changed and holds after a restart only."""
    for field in fields(Config):
        if field.name not in _TAKEN_UP and getattr(running, field.name) != getattr(read, field.name):
            yield field.name
