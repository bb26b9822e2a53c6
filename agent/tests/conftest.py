from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from agent.tests.harness.box import TestBox, make_box
from agent.tests.harness.hq import FakeHq


@pytest.fixture
def hq(tmp_path: Path) -> Iterator[FakeHq]:
    folder = tmp_path / "hq"
    folder.mkdir()
    server = FakeHq().start(folder)
    yield server
    server.stop()


@pytest.fixture
def box(hq: FakeHq, tmp_path: Path) -> Iterator[Callable[..., TestBox]]:
    """Make boxes; `box()` again on the same folder (after `close`) is the same box after a power cut."""
    made: list[TestBox] = []

    def make(name: str = "box", **more: Any) -> TestBox:
        made.append(make_box(more.pop("hq", hq), tmp_path / name, **more))
        return made[-1]

    yield make
    for one in made:
        one.close()
