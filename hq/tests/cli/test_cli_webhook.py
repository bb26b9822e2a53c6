"""`otscert model test-webhook` against the maker's own server, with the settings of a real configuration file."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness.maker import Maker, answers, hangs, running_maker

Installation = Any  # the class lives in conftest.py, which cannot be imported
SECRET = "the-secret-of-the-webhook"  # noqa: S105 - a test's own


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Maker]:
    async with running_maker(answers({"decision": "allow", "tags": ["beta"], "reason": "hello"}), tmp_path) as maker:
        yield maker


@pytest.fixture
def hooked(installed: Installation, server: Maker) -> Installation:
    """An installation whose model box asks the server."""
    (installed.folder / "hook").write_text(f"{SECRET}\n")
    done = installed.call(
        *("model", "set", "box", f"webhook_url={server.url}", "webhook_secret_file=hook"),
        *("webhook_networks=127.0.0.0/8", f"webhook_trust_file={server.trust_file}"),
    )
    assert done.returncode == 0, done.stderr
    return installed


async def asked(hooked: Installation, *more: str) -> subprocess.CompletedProcess[str]:
    done: subprocess.CompletedProcess[str] = await asyncio.to_thread(hooked.run, "model", "test-webhook", "box", *more)
    return done


async def test_what_came_back_is_told(hooked: Installation, server: Maker) -> None:
    done = await asked(hooked)
    assert done.returncode == 0, done.stderr
    assert "ms: allow (hello). A box would be let in, with the tags beta." in done.stdout
    (question,) = server.asked
    assert (question.members["event"], question.members["model"]) == ("test", "box")
    assert SECRET not in done.stdout + done.stderr
    view = json.loads((await asked(hooked, "--json")).stdout)
    assert (view["ok"], view["decision"], view["tags"]) == (True, "allow", ["beta"])
    assert server.asked[0].key != server.asked[1].key


async def test_a_webhook_that_does_not_answer_rightly_is_told(hooked: Installation, server: Maker) -> None:
    server.behaviour = answers({"decision": "perhaps"})
    done = await asked(hooked)
    assert done.returncode == 1
    assert (
        'its answer has no "decision" that is "allow" or "deny". Until it does, boxes of this model wait' in done.stderr
    )
    server.behaviour = hangs
    done = await asked(hooked, "--json")
    view = json.loads(done.stdout)
    assert (done.returncode, view["ok"], view["problem"]) == (1, False, "127.0.0.1 did not answer within 2 s")


async def test_an_address_that_may_not_be_called_is_told_with_the_setting(hooked: Installation, server: Maker) -> None:
    assert hooked.call("model", "set", "box", "webhook_networks=").returncode == 0
    done = await asked(hooked)
    assert "127.0.0.1 is not a public address, and webhook_networks does not name it; nothing was sent" in done.stderr
    assert server.connections == 0


async def test_a_trust_file_that_is_none_keeps_hq_from_starting_and_says_so(hooked: Installation) -> None:
    (hooked.folder / "no.pem").write_text("nothing")
    assert hooked.call("model", "set", "box", "webhook_trust_file=no.pem").returncode == 0
    done = await asked(hooked)
    assert (done.returncode, "the trust file no.pem cannot be used" in done.stderr) == (1, True)
    started = await asyncio.to_thread(hooked.run, "serve")
    assert (started.returncode, "the setting is webhook_trust_file" in started.stderr) == (1, True)


def test_a_model_without_a_webhook_says_how_to_get_one(installed: Installation) -> None:
    done = installed.call("model", "test-webhook", "box")
    assert (done.returncode, "model box has no webhook: otscert model set box webhook_url=" in done.stderr) == (1, True)
