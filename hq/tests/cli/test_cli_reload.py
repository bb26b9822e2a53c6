"""Tokens are rotated, models added and taken away under a running HQ: boxes notice at once, HQ never stops."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from otscert.store.sqlite import SqliteStore
from tests.harness.box import Box, Reply, open_session

Installation = Any  # the class lives in conftest.py, which cannot be imported
OLD, NEW = b"the-token-of-last-year", b"the-token-of-this-year"
COMMENT = b"# rotated in November"
DEEP, LONG = f"a = {'[' * 5000}", f"checkin_s = {'9' * 5000}"


class Running:
    """HQ as a process, seen from a box and from the operator's terminal."""

    def __init__(self, installed: Installation, process: subprocess.Popen[str], session: Any, hq: Any) -> None:
        self.installed, self.process, self._session, self._hq = installed, process, session, hq
        self._told = 0

    async def enroll(self, *, model: str = "box", token: bytes = NEW) -> Reply:
        box = Box(hq=self._hq, session=self._session, model=model)
        hello = await box.hello()
        return await box.enroll(token_proof=box.token_proof(token)) if box.challenge else hello

    async def reload(self, *, kind: str = "config.read_again") -> None:
        """Send SIGHUP and wait until HQ says what came of it."""
        before = await self._count(kind)
        os.kill(self.process.pid, signal.SIGHUP)
        deadline_s = time.monotonic() + 20
        while await self._count(kind) == before:
            assert time.monotonic() < deadline_s
            await asyncio.sleep(0.02)

    async def _count(self, kind: str) -> int:
        store = SqliteStore.open(self.installed.database)
        try:
            return await store.read(lambda transaction: _count(transaction, kind))
        finally:
            await store.close()


def _count(transaction: Any, kind: str) -> int:
    (count,) = transaction._connection.execute("SELECT count(*) FROM event WHERE kind = ?", (kind,)).fetchone()
    return int(count)


@asynccontextmanager
async def running_hq(installed: Installation) -> AsyncIterator[Running]:
    with installed.started("serve", "--json") as process:
        assert '"ready"' in await asyncio.to_thread(process.stdout.readline)
        roots = installed.folder / "hq-data" / "pki" / "root.pem"
        hq: Any = SimpleNamespace(url=f"https://127.0.0.1:{installed.device_port}", roots_pem=roots.read_bytes())
        async with open_session(hq) as session:
            yield Running(installed, process, session, hq)
        assert process.poll() is None


@pytest.fixture
async def hq(installed: Installation) -> AsyncIterator[Running]:
    write_tokens(installed, OLD)
    async with running_hq(installed) as running:
        yield running


def write_tokens(installed: Installation, *tokens: bytes) -> None:
    (installed.folder / "hq-data" / "token-box").write_bytes(b"\n".join([COMMENT, *tokens, b""]))


async def test_a_token_is_rotated_without_a_restart(hq: Running) -> None:
    (await hq.enroll(token=OLD)).granted()
    assert (await hq.enroll(token=NEW)).status == 403
    assert (await hq.enroll(token=COMMENT)).status == 403
    write_tokens(hq.installed, OLD, NEW)
    await hq.reload()
    (await hq.enroll(token=OLD)).granted()
    (await hq.enroll(token=NEW)).granted()
    write_tokens(hq.installed, NEW)
    await hq.reload()
    assert (await hq.enroll(token=OLD)).status == 403
    (await hq.enroll(token=NEW)).granted()


async def test_a_model_is_added_and_taken_away_without_a_restart(hq: Running) -> None:
    assert (await hq.enroll(model="camera")).status == 404
    text = hq.installed.config.read_text()
    hq.installed.config.write_text(f'{text}\n[model.camera]\npolicies = ["open"]\n')
    await hq.reload()
    (await hq.enroll(model="camera")).granted()
    hq.installed.config.write_text(text)
    await hq.reload()
    assert (await hq.enroll(model="camera")).status == 404
    (await hq.enroll(token=OLD)).granted()


@pytest.mark.parametrize("bad", ["not TOML at all", "[model.box]\npolicies = []\n", "", DEEP, LONG])
async def test_a_configuration_that_cannot_be_used_changes_nothing(hq: Running, bad: str) -> None:
    write_tokens(hq.installed, NEW)  # good by itself, but the whole counts
    text = hq.installed.config.read_text()
    hq.installed.config.write_text(bad)
    await hq.reload(kind="config.refused")
    (await hq.enroll(token=OLD)).granted()
    assert (await hq.enroll(token=NEW)).status == 403
    hq.installed.config.write_text(text)
    await hq.reload()
    (await hq.enroll(token=NEW)).granted()


async def test_a_token_that_is_too_short_is_refused_and_the_old_ones_stay(hq: Running) -> None:
    write_tokens(hq.installed, NEW, b"short")
    await hq.reload(kind="config.refused")
    (await hq.enroll(token=OLD)).granted()
    assert (await hq.enroll(token=NEW)).status == 403
