"""The program as a box starts it: real processes, real signals, exit status, memory."""

from __future__ import annotations

import hashlib
import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from agent.tests.harness.box import TestBox
from agent.tests.harness.hq import FakeHq

from otscert_agent import app, served
from otscert_agent.loop import Agent, Handed
from otscert_agent.steps import Step

COMMAND = [sys.executable, "-m", "otscert_agent.cli"]


class Program:
    """One configuration file and the processes started on it."""

    def __init__(self, folder: Path, hq: FakeHq) -> None:
        (folder / "roots.pem").write_bytes(hq.roots_pem)
        self.state = folder / "state"
        self.config = folder / "agent.toml"
        self.values: dict[str, Any] = {
            "hq_url": hq.url,
            "hq_roots": str(folder / "roots.pem"),
            "model": "m1",
            "state_dir": str(self.state),
            "addresses": ["192.168.7.20"],
            "listen": "127.0.0.1:0",
        }
        self.running: list[subprocess.Popen[str]] = []

    def start(self, *arguments: str, **values: Any) -> subprocess.Popen[str]:
        settings = {**self.values, **values}
        self.config.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in settings.items()))
        process = subprocess.Popen(
            [*COMMAND, *arguments, "--config", str(self.config)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.running.append(process)
        return process

    def finish(self, *arguments: str, **values: Any) -> tuple[int, str, str]:
        process = self.start(*arguments, **values)
        out, err = process.communicate(timeout=30)
        return process.returncode, out, err

    def stop(self) -> None:
        for process in self.running:
            if process.poll() is None:
                process.kill()
            process.communicate()


@pytest.fixture
def program(hq: FakeHq, tmp_path: Path) -> Iterator[Program]:
    made = Program(tmp_path, hq)
    yield made
    made.stop()


def until(process: subprocess.Popen[str], kind: str) -> dict[str, Any]:
    assert process.stdout is not None
    for line in process.stdout:
        found: dict[str, Any] = json.loads(line)
        if found["kind"] == kind:
            return found
    raise AssertionError(f"the agent ended without {kind}: {process.communicate()}")


def test_a_box_boots_serves_says_where_and_stops_when_told(program: Program) -> None:
    process = program.start("run", "--json")
    serving = until(process, "serving")
    assert served.presented_leaf("127.0.0.1", serving["port"], serving["name"]) == serving["leaf_sha256"]
    assert serving["names"] == [serving["name"], f"*.{serving['name']}"]
    assert 0 < serving["ms"] < 20_000
    status, out, _ = program.finish("status", "--json")
    found = json.loads(out)
    assert (status, found["names"], found["step"]) == (0, serving["names"], "STEADY")
    assert program.finish("status")[0] == 0
    process.terminate()
    assert process.wait(10) == 0


def test_the_state_folder_is_for_its_owner_only(program: Program) -> None:
    process = program.start("run", "--json")
    until(process, "serving")
    process.terminate()  # a folder that is still written to has files that come and go
    process.communicate(timeout=10)
    modes = {path: path.lstat().st_mode & 0o777 for path in program.state.rglob("*") if not path.is_symlink()}
    assert modes
    assert all(mode == (0o700 if path.is_dir() else 0o600) for path, mode in modes.items())


def test_nothing_that_is_printed_or_noted_holds_a_secret(program: Program) -> None:
    process = program.start("run", "--json")
    until(process, "serving")
    process.terminate()
    out, err = process.communicate(timeout=10)
    state = json.loads((program.state / "state.json").read_text())
    noted = (program.state / "status.json").read_text()
    shown = out + err + noted + program.finish("status", "--json")[1]
    for secret in (state["pool"], state["epoch_token"], state["identity"]["seed"]):
        assert len(secret) > 20
        assert secret not in shown


def test_a_long_wait_is_spent_in_a_small_process_that_goes_on_serving(program: Program) -> None:
    process = program.start("run", "--json")
    serving = until(process, "serving")
    maps = Path(f"/proc/{process.pid}/maps")
    assert "cryptography" in maps.read_text()
    deadline = time.monotonic() + app.GRACE_S + 20
    while "cryptography" in (text := maps.read_text()) or "_ssl" not in text:
        assert time.monotonic() < deadline, "the process never became small"
        time.sleep(0.05)
    # The same process, the same port, the same pair; nobody was turned away in between.
    assert served.presented_leaf("127.0.0.1", serving["port"], serving["name"]) == serving["leaf_sha256"]
    rss_kb = int(Path(f"/proc/{process.pid}/status").read_text().split("VmRSS:")[1].split()[0])
    assert rss_kb < 30 * 1024
    assert program.finish("run")[0] == 1  # the lock came along
    process.terminate()
    assert process.wait(10) == 0


def test_the_image_after_the_handover_checks_in_when_it_is_due(hq: FakeHq, box: Callable[..., TestBox]) -> None:
    first = box()
    first.agent.run(until=Step.STEADY)
    first.close()
    again = box()
    agent = Agent(again.agent._parts, Handed(due=again.time.now() + 500, canary="c" * 64))
    agent.advance()
    agent.close()
    assert again.time.waits == [500.0]
    assert hq.book.calls[-1].payload["canary"] == "c" * 64


def test_enroll_ends_well_when_the_pair_is_installed(program: Program) -> None:
    status, out, _ = program.finish("enroll")
    assert status == 0
    assert "INSTALL done" in out
    assert (program.state / "current" / "key.pem").exists()
    assert program.finish("enroll")[0] == 0  # again: nothing to do


def test_enroll_ends_badly_when_the_pair_is_not_served(program: Program) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        status, out, _ = program.finish("enroll", "--json", served_at=f"127.0.0.1:{unused.getsockname()[1]}")
    assert status == 1
    assert "nothing is served" in out


def test_a_second_agent_on_the_same_folder_is_told_so(program: Program) -> None:
    until(program.start("run", "--json"), "serving")
    status, _, err = program.finish("run")
    assert status == 1
    assert "another agent is running" in err


def test_a_port_in_use_is_a_setting_to_change(program: Program) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        status, _, err = program.finish("run", listen=f"127.0.0.1:{taken.getsockname()[1]}")
    assert status == 2
    assert "listen = 127.0.0.1" in err
    assert "in use" in err


@pytest.mark.parametrize(
    ("values", "status", "why"),
    [
        ({"modle": "x"}, 2, "unknown setting 'modle'; did you mean 'model'"),
        ({"hq_roots": "/nowhere.pem"}, 2, "hq_roots /nowhere.pem cannot be read"),
        ({"state_dir": "/proc/agent"}, 1, "the state folder /proc/agent cannot be used"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(program: Program, values: dict[str, str], status: int, why: str) -> None:
    code, _, err = program.finish("enroll", **values)
    assert code == status
    assert why in err
    assert "Traceback" not in err


def test_a_damaged_state_file_is_said_and_left_alone(program: Program) -> None:
    program.state.mkdir()
    (program.state / "state.json").write_text("{")
    status, _, err = program.finish("enroll")
    assert status == 1
    assert "memory is damaged" in err
    assert (program.state / "state.json").read_text() == "{"


def test_a_box_that_is_killed_and_started_again_keeps_name_and_pair(program: Program) -> None:
    process = program.start("run", "--json")
    first = until(process, "serving")
    key = hashlib.sha256((program.state / "current" / "key.pem").read_bytes()).hexdigest()
    process.kill()
    process.communicate()
    second = until(program.start("run", "--json"), "serving")
    assert second["name"] == first["name"]
    assert second["leaf_sha256"] == first["leaf_sha256"]
    assert hashlib.sha256((program.state / "current" / "key.pem").read_bytes()).hexdigest() == key
