from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.harness.box import open_session
from tests.harness.hq import LOOPBACK, HqOptions, run_hq
from tests.harness.ports import free_port
from tests.harness.scene import Scene
from tests.scripted_ca import Script, ScriptedCa, start_scripted_ca


class Stage:
    """A scripted CA that asks our DNS, and any number of HQs one after the other on one folder."""

    def __init__(self, ca: ScriptedCa, folder: Path, dns_port: int) -> None:
        self.ca, self.folder, self.dns_port = ca, folder, dns_port

    @asynccontextmanager
    async def hq(self, **changes: Any) -> AsyncIterator[Scene]:
        options = HqOptions(folder=self.folder, ca=self.ca, dns_port=self.dns_port)
        for name, value in changes.items():
            setattr(options, name, value)
        options.folder.mkdir(exist_ok=True)
        async with run_hq(options) as hq, open_session(hq) as session:
            yield Scene(hq=hq, session=session)


SetStage = Callable[..., Awaitable[Stage]]


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[SetStage]:
    """A CA that follows a script, and a folder for the HQs that order from it."""
    async with AsyncExitStack() as stack:

        async def set_stage(script: Script | None = None) -> Stage:
            port = free_port()
            ca = await stack.enter_async_context(start_scripted_ca(script, dns_server=(LOOPBACK, port)))
            return Stage(ca, tmp_path, port)

        yield set_stage
