"""A real agent on a kernel whose generator is not ready: it waits, says so, opens no TLS, and never blocks.

The kernel is the machine's own; a seccomp filter answers for its generator (`tests.harness.crng`), and whatever would
have blocked or given guessable bytes kills the process.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from agent.tests.harness.box import secret_file
from agent.tests.harness.hq import FakeHq

from otscert_agent.readiness import LEAST_PAUSE_S, WAITING
from otscert_agent.wire.factory import Factory
from tests.harness.crng import NotReady
from tests.harness.ports import free_port

UNIT = Factory.from_bytes(secrets.token_bytes(32))
AGENT = [sys.executable, "-m", "otscert_agent.cli"]
LIMIT_S = 30.0


@dataclass(slots=True, kw_only=True)
class Scene:
    """A box, switched on under the filter, and what HQ has seen of it."""

    hq: FakeHq
    config: Path
    state: Path
    plain_port: int
    accepted: list[object] = field(default_factory=list)

    def switch_on(self) -> NotReady:
        return NotReady([*AGENT, "run", "--json", "--config", str(self.config)])

    def status(self) -> dict[str, Any]:
        command = [*AGENT, "status", "--json", "--config", str(self.config)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=LIMIT_S)
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def page(self) -> str:
        with socket.create_connection(("127.0.0.1", self.plain_port), 5) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            return b"".join(iter(lambda: connection.recv(65536), b"")).decode()


@pytest.fixture(params=["plain", "stamped"])
def scene(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Scene]:
    (tmp_path / "hq").mkdir()
    hq = FakeHq()
    hq.stamp(UNIT)
    hq.start(tmp_path / "hq")
    made = Scene(hq=hq, config=tmp_path / "agent.toml", state=tmp_path / "state", plain_port=free_port())
    server = hq._server
    assert server is not None
    take = server.get_request
    server.get_request = lambda: (made.accepted.append(1), take())[1]  # type: ignore[method-assign,func-returns-value]  # counts
    (tmp_path / "roots.pem").write_bytes(hq.roots_pem)
    values = {
        "hq_url": hq.url,
        "hq_roots": str(tmp_path / "roots.pem"),
        "model": "m1",
        "state_dir": str(made.state),
        "addresses": ["192.168.7.20"],
        "listen": "127.0.0.1:0",
        "listen_plain": f"127.0.0.1:{made.plain_port}",
    }
    if request.param == "stamped":
        values["factory_file"] = str(secret_file(tmp_path / "factory", UNIT))
    made.config.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items()))
    yield made
    hq.stop()


def said(box: NotReady, kind: str) -> dict[str, Any]:
    """Read what the agent says until it says a line of this kind."""
    assert box.process.stdout is not None
    for line in box.process.stdout:
        found: dict[str, Any] = json.loads(line)
        if found["kind"] == kind:
            return found
    raise AssertionError(f"the agent ended without {kind}: {box.violations} {box.process.communicate()[1]}")


def until(what: Callable[[], bool]) -> None:
    ends = time.monotonic() + LIMIT_S
    while not what():
        assert time.monotonic() < ends, "it never came to that"
        time.sleep(0.02)  # bounded by the deadline


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_the_box_waits_and_says_so_and_then_finishes_its_first_boot(scene: Scene) -> None:
    with scene.switch_on() as box:
        assert said(box, "waiting")["why"] == WAITING
        asked, used_s, began = box.asked, cpu_s(box.process.pid), time.monotonic()
        until(lambda: box.asked >= asked + 5)  # it has looked again, more than once
        looked, took_s = box.asked - asked, time.monotonic() - began
        assert looked <= took_s / LEAST_PAUSE_S + 2, "a busy loop"
        assert cpu_s(box.process.pid) - used_s < 0.5 * took_s
        # What the owner and whoever asks can see.
        found = scene.status()
        assert (found["step"], found["why"]) == ("ENTROPY", WAITING)
        assert "<h1>Waiting for randomness</h1>" in scene.page()
        # Nothing that randomness is needed for has begun.
        assert scene.accepted == []
        assert not (scene.state / "current").exists()
        state = json.loads((scene.state / "state.json").read_text())
        assert [state[name] for name in ("hello", "identity", "pending", "pool")] == [None, None, None, ""]
        assert box.process.poll() is None
        assert box.violations == []
        assert not box.was_read
        box.become_ready()
        serving = said(box, "serving")
        until(lambda: "This box is ready" in scene.page())
    assert scene.accepted != []
    assert serving["name"] == next(iter(scene.hq.book.devices.values())).name
    assert scene.hq.book.calls[0].payload["report"]["crng"] == "ready"
    assert scene.hq.book.violations == []
    assert box.violations == []


def test_a_box_that_waits_ends_when_it_is_told(scene: Scene) -> None:
    with scene.switch_on() as box:
        said(box, "waiting")
        box.process.terminate()
        assert box.process.wait(LIMIT_S) == 0
        assert box.violations == []


def test_the_filter_would_have_killed_a_program_that_asks_as_most_do(tmp_path: Path) -> None:
    """The judge is judged: a TLS client, the standard library's randomness, a read of the device."""
    (tmp_path / "hq").mkdir()
    hq = FakeHq().start(tmp_path / "hq")
    port = hq.url.rpartition(":")[2]
    programs = {
        f"import socket, ssl; plain = socket.create_connection(('127.0.0.1', {port}));"
        "ssl._create_unverified_context().wrap_socket(plain)": "a getrandom that blocks",
        "import secrets; secrets.token_bytes(1)": "a getrandom that blocks",
        "open('/dev/urandom', 'rb')": "/dev/urandom was opened to be read",
    }
    for program, why in programs.items():
        with NotReady([sys.executable, "-c", program]) as judged:
            assert judged.process.wait(LIMIT_S) == -signal.SIGKILL
            assert judged.violations == [why]
    with NotReady([sys.executable, "-c", "open('/dev/random', 'rb').read(8)"]) as judged:
        assert judged.process.wait(LIMIT_S) == 0
        assert judged.was_read
    hq.stop()
