"""A scene for tests of the device API: HQ, boxes at it, and a bystander who must be served whatever the others did."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

from tests.harness.box import Box, Reply, open_session, tls_context
from tests.harness.hq import HqOptions, RunningHq, default_models, make_model, run_hq

TABLES = ("device", "device_key", "hello", "name", "verified_key", "cert_order", "seen_d0", "quota", "event")


@dataclass(slots=True, kw_only=True)
class Scene:
    hq: RunningHq
    session: aiohttp.ClientSession

    def box(self, **changes: Any) -> Box:
        return Box(hq=self.hq, session=self.session, **changes)

    async def rows(self) -> dict[str, int]:
        """How many rows each table has that a box can make grow."""
        return {table: await self.hq.count(table) for table in TABLES}


@asynccontextmanager
async def open_scene(options: HqOptions) -> AsyncIterator[Scene]:
    """Run HQ; at the end a bystander at another address, of another model, is admitted as if nothing had happened."""
    options.models = {**options.models, "bystander": make_model("bystander")}
    async with run_hq(options) as hq:
        async with open_session(hq) as session:
            yield Scene(hq=hq, session=session)
        connector = aiohttp.TCPConnector(ssl=tls_context(hq), local_addr=("127.0.0.2", 0))
        async with aiohttp.ClientSession(connector=connector) as session:
            await Box(hq=hq, session=session, model="bystander").admit()


def assert_says(reply: Reply, status: int, *words: str) -> None:
    """The answer is a problem with this status whose text has all of these words."""
    assert reply.status == status, reply.message
    assert reply.message["status"] == status
    for word in words:
        assert word in reply.detail, reply.detail


def changed(member: str, value: Any) -> dict[str, Any]:
    """One changed member, to be handed to a step of `Box`."""
    return {member: value}


__all__ = ["HqOptions", "Scene", "assert_says", "changed", "default_models", "open_scene"]
