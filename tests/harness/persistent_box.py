"""A box that does not give up: it repeats its messages, byte for byte, until HQ is there again and has answered."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from otscert_agent.wire import messages
from tests.harness.box import DROP, Box, Reply

AGAIN_S = 0.05
UNAVAILABLE = 503


@dataclass(slots=True, kw_only=True, eq=False)
class PersistentBox:
    """One box through as many HQs as it takes."""

    box: Box
    chains: list[str] = field(default_factory=list)
    """The certificates that it was given, in order."""
    refusals: list[str] = field(default_factory=list)
    """What HQ said each time that it could do nothing just then."""
    _enrolment: bytes = b""

    @property
    def label(self) -> str:
        return self.box.label

    async def prepare(self) -> None:
        """Say hello, so that it has a name and the key of its next certificate; `order` and `obtain` follow."""
        if self.box.epoch_token:
            reply = await self._until_answered(
                lambda: self.box.hello(signer=self.box.identity, epoch_token=self.box.epoch_token)
            )
            changes: dict[str, Any] = {"binding": DROP, "epoch_token": self.box.epoch_token}
        else:
            reply = await self._until_answered(self.box.hello)
            changes = {}
        assert reply.typ == messages.Challenge.TYP, reply.message
        self._enrolment = self.box.sign_enroll(**changes)

    async def order(self) -> None:
        """Send the order until HQ says that it has it."""
        reply = await self._until_answered(lambda: self.box.post(messages.PATH_ENROLL, self._enrolment))
        self.box.take_granted(reply).granted()

    async def obtain(self) -> str:
        """Wait for the certificate of the order that was placed, and where it fails begin anew; returns the chain."""
        while (reply := await self._until_answered(self.box.poll)).message["status"] != "issued":
            if reply.message["status"] == "failed":
                await self.prepare()
                await self.order()
        self.chains.append(str(reply.message["chain"]))
        return self.chains[-1]

    async def _until_answered(self, ask: Callable[[], Awaitable[Reply]]) -> Reply:
        while True:
            try:
                reply = await ask()
            except (aiohttp.ClientError, ConnectionError):
                await asyncio.sleep(AGAIN_S)
                continue
            if reply.status != UNAVAILABLE:
                return reply
            self.refusals.append(reply.detail)
            await asyncio.sleep(AGAIN_S)
