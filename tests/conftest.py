"""Fixtures that every end-to-end test may use: the real Pebble, started and ended per test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from otscert.ops.pebble import Pebble, start_pebble
from tests.harness.parts import require_part


@pytest.fixture(scope="session")
def pebble_binary() -> Path:
    """The Pebble that most tests use: 2.10, with ARI and profiles."""
    return require_part("pebble").path


@pytest.fixture
def pebble(tmp_path: Path) -> Iterator[Callable[..., Pebble]]:
    """Start a Pebble: `pebble(dns_server="127.0.0.1:5300", always_valid=True)`; all of them end with the test.

    Takes what `start_pebble` takes, all optional, and `part="pebble-2.4"` for the older one.
    """
    with ExitStack() as running:

        def start(*, part: str = "pebble", dns_server: str | None = None, **settings: Any) -> Pebble:
            folder = tmp_path / f"pebble-{len(list(tmp_path.iterdir()))}"
            binary = require_part(part).path
            return running.enter_context(start_pebble(binary=binary, folder=folder, dns_server=dns_server, **settings))

        yield start
