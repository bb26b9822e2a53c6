"""Sends one message through every channel of the configuration now, past the outbox, and times it."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from otscert.channels import close, make_channels
from otscert.cli.errors import CommandFailed
from otscert.config import Config
from otscert.domain.alert_message import Message
from otscert.notify.errors import ChannelUnusable, NotDelivered
from otscert.service.alert_sending import Channel


def send(config: Config, message: Message) -> list[dict[str, Any]]:
    """Return what came of each channel, as `--json` prints it."""
    return asyncio.run(_send(config, message))


async def _send(config: Config, message: Message) -> list[dict[str, Any]]:
    try:
        channels = make_channels(config.alerts, now_s=lambda: int(time.time()))
    except ChannelUnusable as error:
        raise CommandFailed(str(error)) from error
    try:
        return list(await asyncio.gather(*(_one(name, channel, message) for name, channel in channels.items())))
    finally:
        await close(channels)


async def _one(name: str, channel: Channel, message: Message) -> dict[str, Any]:
    began_s, problem = time.monotonic(), None
    try:
        await channel.send(message)
    except NotDelivered as error:
        problem = str(error)
    ms = round((time.monotonic() - began_s) * 1000)
    return {"name": name, "ok": problem is None, "problem": problem, "ms": ms}
