"""HQ for the laboratory: the real one in this process, asked over HTTPS with the bytes that a guest wrote.

Wired as the tests wire it, without a CA: what is looked at ends with the admission. Does not know what is asked.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from lab.image import Answer
from otscert.domain.admission import Policy
from tests.harness.box import open_session
from tests.harness.hq import HqOptions, RunningHq, make_model, run_hq

MODEL = "box"
"""Open to everybody, as for a maker whose factory stays as it is."""
STAMPED_MODEL = "stamped-box"
"""Only for units of an imported manifest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """What HQ has on record of a device it admitted: its label, its identity key, its TLS key, whose randomness."""

    label: str
    identity: str
    tls_key: str
    contribution: str
    policy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Headquarters:
    """A running HQ. Its methods carry bytes and read its database."""

    running: RunningHq
    session: aiohttp.ClientSession

    async def post(self, url: str, body: bytes) -> Answer:
        async with self.session.post(url, data=body) as response:
            return Answer(status=response.status, content_type=response.content_type, body=await response.read())

    async def admitted(self) -> list[Admitted]:
        rows = await self.running.rows(
            "SELECT device.label, device.thumbprint, hex(key.spki_sha256), key.contribution, device.policy"
            " FROM device JOIN verified_key AS key ON key.device_id = device.id AND key.kind = 'certificate'"
            " ORDER BY device.admitted_at_s, device.id"
        )
        return [
            Admitted(label=label, identity=identity, tls_key=key.lower(), contribution=contribution, policy=policy)
            for label, identity, key, contribution, policy in rows
        ]

    async def marks(self, model: str) -> list[str]:
        """Return what HQ holds against a model."""
        return [row[0] for row in await self.running.rows("SELECT kind FROM model_mark WHERE model = ?", model)]


@asynccontextmanager
async def run_headquarters(folder: Path) -> AsyncIterator[Headquarters]:
    models = {MODEL: make_model(MODEL), STAMPED_MODEL: make_model(STAMPED_MODEL, policies=(Policy.FACTORY,))}
    async with run_hq(HqOptions(folder=folder, models=models)) as running, open_session(running) as session:
        yield Headquarters(running=running, session=session)
