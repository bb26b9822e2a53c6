"""`otscert model test-webhook` against the maker's own server, with the settings of a real configuration file."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.harness.box import Box, open_session
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


async def test_a_running_hq_asks_and_takes_up_another_server_without_a_restart(
    hooked: Installation, server: Maker, tmp_path: Path
) -> None:
    server.behaviour = answers({}, status=500)
    assert hooked.call("model", "set", "box", "policies=open").returncode == 0
    with hooked.started("serve", "--json") as process:
        assert '"ready"' in await asyncio.to_thread(process.stdout.readline)
        roots = (hooked.folder / "hq-data" / "pki" / "root.pem").read_bytes()
        hq: Any = SimpleNamespace(url=f"https://127.0.0.1:{hooked.device_port}", roots_pem=roots)
        async with open_session(hq) as session, running_maker(answers({"decision": "allow"}), tmp_path) as other:
            box = Box(hq=hq, session=session, model="box")
            await box.hello()
            async with asyncio.timeout(20):
                while not server.asked:
                    assert (await box.enroll()).status == 202
            pending = await asyncio.to_thread(hooked.run, "device", "pending")
            assert "the webhook" in pending.stdout
            changes = f"webhook_url={other.url}", f"webhook_trust_file={other.trust_file}"
            told = await asyncio.to_thread(hooked.run, "model", "set", "box", "--reload", *changes)
            assert "was told" in told.stdout
            async with asyncio.timeout(20):
                while (reply := await box.enroll()).status == 202:  # noqa: ASYNC110 - another process decides
                    await asyncio.sleep(0.05)
            reply.granted()
            assert other.asked[0].key == server.asked[0].key
