from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.harness.scene import HqOptions, Scene, open_scene

StartScene = Callable[..., Awaitable[Scene]]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[StartScene]:
    """Start HQ with changed options; at the end of the test another box must be served."""
    async with AsyncExitStack() as stack:

        async def start_scene(**changes: Any) -> Scene:
            return await stack.enter_async_context(open_scene(HqOptions(folder=tmp_path, **changes)))

        yield start_scene


@pytest.fixture
async def scene(start: StartScene) -> Scene:
    return await start()
