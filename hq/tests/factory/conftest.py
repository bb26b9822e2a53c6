"""A key and batches to stamp."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from otscert.factory.stamping import Batch, stamp
from otscert.factory.unit_folder import Form
from otscert_agent.wire.keys import Signer


@pytest.fixture(scope="session")
def signer() -> Signer:
    return Signer.from_seed(b"factory key of these tests......")


@pytest.fixture(scope="session")
def make_batch() -> Callable[..., Batch]:
    def make(**changes: Any) -> Batch:
        members: dict[str, Any] = {
            "model": "box",
            "name": "batch-7",
            "made_at": "2026-11-23T16:00:00Z",
            "count": 3,
            "serials": ["SN-1", "SN-2", "SN-3"],
            "label_url": "https://hq.example.com",
            "form": Form.FILES,
            "hold": False,
        }
        return Batch(**(members | changes))

    return make


@pytest.fixture
def stamped(tmp_path: Path, make_batch: Callable[..., Batch], signer: Signer) -> Path:
    """The folder of a batch of three."""
    stamp(make_batch(), tmp_path / "stamped", signer)
    return tmp_path / "stamped"
