"""From the maker's line to the padlock: what `otscert factory` makes, a real agent, a real HQ and Pebble."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from otscert.ops.demo_hq import MODEL, DemoHq, Ports
from otscert.ops.pebble import Pebble
from tests.harness.ports import free_port

DEADLINE_S = 60.0


@pytest.fixture
def hq(tmp_path: Path, pebble: Callable[..., Pebble], monkeypatch: pytest.MonkeyPatch) -> Iterator[DemoHq]:
    """An HQ whose one model lets stamped units in and nobody else."""
    ports = Ports(device=free_port(), dns=free_port())
    ca = pebble(dns_server=f"127.0.0.1:{ports.dns}")
    monkeypatch.setenv("OTSCERT_MODEL_DEMO_BOX_POLICIES", "factory")
    (tmp_path / "hq-folder").mkdir()
    hq = DemoHq(tmp_path / "hq-folder", ports, died=lambda _status: None)
    try:
        hq.start(ca)
        yield hq
    finally:
        hq.stop()


def otscert(hq: DemoHq, *arguments: str, status: int = 0) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "otscert", *arguments, "--json"],
        cwd=hq.folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == status, done.stdout + done.stderr
    return json.loads(done.stdout)


@contextmanager
def switched_on(hq: DemoHq, folder: Path) -> Iterator[Iterator[dict[str, Any]]]:
    """The agent on a board whose factory partition is `folder`; what it says, while it runs."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("OTSCERT_")}
    settings = {
        "HQ_URL": hq.public_url,
        "HQ_ROOTS": str(hq.root_pem),
        "MODEL": MODEL,
        "STATE_DIR": str(folder.parent / "state"),
        "FACTORY_FILE": str(folder / "factory.secret"),
        "ADDRESSES": "127.0.0.1",
        "LISTEN": "127.0.0.1:0",
    }
    with subprocess.Popen(
        [sys.executable, "-m", "otscert_agent.cli", "run", "--json"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        env=ours | {f"OTSCERT_AGENT_{name}": value for name, value in settings.items()},
    ) as process:
        try:
            assert process.stdout is not None
            yield (json.loads(line) for line in process.stdout)
        finally:
            process.kill()


def until(said: Iterator[dict[str, Any]], *kinds: str) -> dict[str, Any]:
    ends_s = time.monotonic() + DEADLINE_S
    for each in said:
        if each["kind"] in kinds:
            return each
        assert time.monotonic() < ends_s, each
    raise AssertionError("the agent ended")


def test_a_stamped_unit_waits_for_the_line_and_for_its_manifest_and_is_then_let_in(hq: DemoHq, tmp_path: Path) -> None:
    otscert(hq, "factory", "stamp", "--model", MODEL, "--count", "2", "--first-serial", "0041", "--hold", "--out", "b")
    # What the line does: the unit's files into its partition, the hold file into the agent's state folder.
    board = tmp_path / "board" / "factory"
    shutil.copytree(hq.folder / "b" / "units" / "0042", board)
    (tmp_path / "board" / "state").mkdir(mode=0o700)
    (board / "hold").rename(tmp_path / "board" / "state" / "hold")
    with switched_on(hq, board) as said:
        waiting = until(said, "waiting", "serving")
        assert "on hold" in waiting["why"]
        assert otscert(hq, "device", "list")["devices"] == []
    (tmp_path / "board" / "state" / "hold").unlink()
    with switched_on(hq, board) as said:
        refused = until(said, "problem", "serving")
        assert "in no manifest of this HQ" in json.dumps(refused)
    otscert(hq, "factory", "import", "b/manifest.jsonl")
    verified = otscert(hq, "factory", "verify", str(board), "--hq", hq.public_url, "--root", str(hq.root_pem))
    assert [each["outcome"] for each in verified["findings"]] == ["ok"] * 4
    with switched_on(hq, board) as said:
        serving = until(said, "serving")
        (device,) = otscert(hq, "device", "list")["devices"]
        assert device["names"][0] == serving["name"]
        assert (device["serial"], device["policy"], device["contribution"]) == ("0042", "factory", "sealed")
        # A test of the line does no harm to a unit that has enrolled.
        again = otscert(hq, "factory", "verify", str(board), "--hq", hq.public_url, "--root", str(hq.root_pem))
        outcomes = {each["check"]: each["outcome"] for each in again["findings"]}
        assert outcomes == {"unit.secret": "ok", "unit.keys": "ok", "hq.table": "warning", "hq.hello": "ok"}
        assert otscert(hq, "device", "show", "0042")["state"] == "active"
    with (hq.folder / "b" / "line.csv").open(newline="") as file:
        assert [row["serial"] for row in csv.DictReader(file)] == ["0041", "0042"]
