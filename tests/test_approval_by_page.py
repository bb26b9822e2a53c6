"""An owner reads the pairing code off the box's page, a person at HQ types it: real agent, real HQ, real browser."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from otscert.domain.admission import Answer, Policy
from otscert.service import approval
from otscert.service.approval import Confirmer
from otscert.store.requests import AdmissionRequest
from tests.harness.chromium import visit
from tests.harness.hq import HqOptions, RunningHq, default_models, make_model, run_hq
from tests.harness.ports import free_port

LIMIT_S = 40.0
CODE = re.compile(r'<p class="code"><b>([A-Z2-7]{4})</b><b>([A-Z2-7]{4})</b></p>')
# A browser that has never run before, and a box that asks again every five seconds.
pytestmark = pytest.mark.timeout(120)


@contextmanager
def switched_on(hq: RunningHq, folder: Path) -> Iterator[int]:
    """Run the agent; gives the port of its page."""
    port = free_port()
    (folder / "root.pem").write_bytes(hq.roots_pem)
    values = {
        "hq_url": hq.url,
        "hq_roots": str(folder / "root.pem"),
        "model": "asking",
        "state_dir": str(folder / "state"),
        "addresses": ["192.168.7.20"],
        "listen_plain": f"127.0.0.1:{port}",
    }
    config = folder / "agent.toml"
    config.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items()))
    command = [sys.executable, "-m", "otscert_agent.cli", "run", "--config", str(config)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        yield port
    finally:
        process.terminate()
        process.wait(LIMIT_S)


async def page_with(port: int, shows: str) -> str:
    """Ask the page, as a person with a browser would, until it shows `shows`."""
    ends, seen = time.monotonic() + LIMIT_S, ""
    while time.monotonic() < ends:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:  # it is being switched on
            await asyncio.sleep(0.05)
            continue
        writer.write(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        seen = (await reader.read()).decode()
        writer.close()
        await writer.wait_closed()
        if shows in seen:
            return seen
        await asyncio.sleep(0.05)
    raise AssertionError(f"the page never showed {shows!r}:\n{seen}")


async def approve(hq: RunningHq, code: str) -> AdmissionRequest:
    confirmer = Confirmer(account="ann", address=None, now_s=hq.hq.now_s())
    secret = hq.hq.secret
    found = await hq.store.write(
        lambda transaction: approval.find_by_pairing_code(transaction, code, confirmer, secret=secret)
    )
    assert isinstance(found, AdmissionRequest), found
    decided = await hq.store.write(lambda transaction: approval.decide(transaction, found, Answer.YES, confirmer))
    assert isinstance(decided, AdmissionRequest), decided
    return decided


async def test_the_code_on_the_page_lets_the_box_in(tmp_path: Path) -> None:
    models = {**default_models(), "asking": make_model("asking", policies=(Policy.APPROVAL,))}
    (tmp_path / "hq").mkdir()
    async with run_hq(HqOptions(folder=tmp_path / "hq", models=models)) as hq:
        with switched_on(hq, tmp_path) as port:
            await page_with(port, "Waiting for approval")
            url, rules = f"http://127.0.0.1:{port}/", {"127.0.0.1": "127.0.0.1"}
            seen = await asyncio.to_thread(visit, url, root_pem=None, host_rules=rules, folder=tmp_path)
            assert seen.net_error is None
            assert seen.screenshot is not None
            code = CODE.search(seen.dom)
            assert code is not None, seen.dom
            assert await hq.count("device") == 0
            await approve(hq, "-".join(code.groups()))
            after = await page_with(port, "Getting a certificate")
            assert 'class="code"' not in after
            assert await hq.rows("SELECT policy, state FROM device") == [("approval", "active")]
