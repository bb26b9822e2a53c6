"""What a test does when it needs a real part: get it, or be skipped with the words that say how to get it.

Where nothing may be missing (`CI=true` or `OTSCERT_TEST_REQUIRE_PARTS=1`) a missing part is a failure. Does not fetch.
"""

from __future__ import annotations

import os

import pytest

from parts.catalog import Command, find_command, installed_parts


def parts_are_required() -> bool:
    return os.environ.get("CI") == "true" or os.environ.get("OTSCERT_TEST_REQUIRE_PARTS") == "1"


def require_part(name: str) -> Command:
    """Return how to start a real part's command: its `path`, and the `env` it needs on top of the test's own."""
    command = find_command(name)
    if command is not None:
        return command
    words = f"{name} is not on this machine; {how_to_get(name)}"
    if parts_are_required():
        pytest.fail(words)
    pytest.skip(words)


def how_to_get(name: str) -> str:
    if (part := installed_parts().get(name)) is not None:
        return f"run `make parts` as root, or: sudo apt-get install -y --no-install-recommends {part.package}"
    return "run `make parts`"
