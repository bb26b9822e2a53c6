"""A state.json that cannot be read: the box serves what it has, says so, calls nobody, and waits for a reset."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from agent.tests.harness.box import HeldTime, SleepyKernel, TestBox
from agent.tests.harness.hq import FakeHq

from otscert_agent import sealing, served, state
from otscert_agent.app import status
from otscert_agent.disk import Disk
from otscert_agent.errors import DamagedError
from otscert_agent.facts import installed_facts
from otscert_agent.loop import Agent, Handed
from otscert_agent.state import Bound, BoxState, KeyState, Pending, Sent, Store
from otscert_agent.steps import Step

MakeBox = Callable[..., TestBox]
COMMAND = [sys.executable, "-m", "otscert_agent.cli"]
SENTENCE = "the box's memory is damaged: its maker's `otscert-agent reset` makes it enrol as a new box"
FULL = BoxState(
    hello=KeyState(bytes(32), 1),
    identity=KeyState(bytes(32), 1),
    device_id="d",
    names=["n"],
    epoch_token="t",
    pending=Pending("t", ["n"], bytes(31) + b"\x01", b"csr", "p", {"a": "b"}, "https://hq.example/o"),
    sent=Sent(b"body"),
    served_sha256="00",
    bound=Bound("f", "u"),
)


def newer(text: bytes) -> bytes:
    return json.dumps({**json.loads(text), "version": state.VERSION + 1}).encode()


def paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where every value of a JSON text is."""
    if path:
        yield path
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, below in inside:
        yield from paths(below, (*path, name))


ALL = list(paths(json.loads(state.encode(FULL))))


@pytest.mark.parametrize("path", ALL, ids=[".".join(map(str, path)) for path in ALL])
def test_a_wrong_type_anywhere_is_told(tmp_path: Path, path: tuple[Any, ...]) -> None:
    disk = Disk(tmp_path / "box")
    disk.prepare()
    for wrong in (1.5, True, False, -1, 10**400, 7, "\udcff", "no base64", "", [], [None], {}, {"x": "y"}, {"x": 1}):
        members = json.loads(state.encode(FULL))
        inner = members
        for name in path[:-1]:
            inner = inner[name]
        if type(inner[path[-1]]) is type(wrong) and path != ("version",) and not isinstance(wrong, (dict, list)):
            continue
        inner[path[-1]] = wrong
        disk.write(state.FILE, json.dumps(members).encode())
        try:
            found = Store(disk).state
        except DamagedError as error:
            assert SENTENCE in str(error)  # noqa: PT017  # either outcome is looked at
        else:  # an empty list or object where one belongs
            assert wrong in ([], {}, {"x": "y"}), (path, wrong)
            assert state.decode(state.encode(found)) == found


def test_a_key_that_is_cut_short_is_told(tmp_path: Path) -> None:
    disk = Disk(tmp_path / "box")
    disk.prepare()
    for member, inner in (("identity", "seed"), ("hello", "seed"), ("pending", "scalar")):
        members = json.loads(state.encode(FULL))
        members[member][inner] = "AAAA"
        disk.write(state.FILE, json.dumps(members).encode())
        with pytest.raises(DamagedError):
            Store(disk)


# ---- a box on which it happens


@pytest.fixture(params=["cut", "types", "newer", "zeros", "pipe", "huge"])
def damaged(request: pytest.FixtureRequest, box: MakeBox) -> Path:
    """The state folder of an enrolled box whose state.json was damaged since."""
    one = box()
    one.agent.run(until=Step.STEADY)
    one.close()
    path = one.disk.root / "state.json"
    whole = path.read_bytes()
    path.unlink()
    if request.param == "pipe":
        os.mkfifo(path)
    elif request.param == "huge":
        with path.open("wb") as file:
            file.truncate(1 << 40)
    else:
        members = {**json.loads(whole), "identity": {"seed": [], "seq_limit": "x"}}
        contents = {"cut": whole[:99], "types": json.dumps(members).encode(), "newer": newer(whole), "zeros": bytes(99)}
        path.write_bytes(contents[request.param])
    return one.disk.root


def looks_of(path: Path) -> tuple[Any, ...]:
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


def test_it_is_said_every_ten_minutes_and_hq_is_not_called_and_nothing_written(
    hq: FakeHq, box: MakeBox, damaged: Path
) -> None:
    said_before, file_before = len(hq.book.calls), looks_of(damaged / "state.json")
    one = box(time=HeldTime(most_waits=10_000))
    for _ in range(250):
        one.agent.advance()
    assert one.agent.step is Step.DAMAGED
    problems = one.lines("problem")
    assert len(problems) == 1  # the report has a clock of its own, in which no time has passed
    assert SENTENCE in problems[0]["why"]
    assert all(wait >= 1 for wait in one.time.waits)
    assert len(hq.book.calls) == said_before
    assert looks_of(damaged / "state.json") == file_before
    found = status(one.settings)
    assert (found["step"], SENTENCE in str(found["why"])) == ("DAMAGED", True)
    assert found["names"] == installed_facts(one.disk).names
    for write in (one.store.save, one.store.flush, lambda: one.store.replace(BoxState())):
        if write != one.store.flush:
            with pytest.raises(DamagedError):
                write()
    assert looks_of(damaged / "state.json") == file_before


def test_tls_begins_once_and_only_when_the_kernel_is_ready(box: MakeBox, damaged: Path) -> None:
    shown: list[int] = []
    one = box(kernel=SleepyKernel(looks=3))
    parts = one.agent._parts
    agent = Agent(type(parts)(**{**vars(parts), "start_page": lambda: shown.append(len(one.time.waits))}))
    for _ in range(10):
        agent.advance()
    assert shown == [3]
    assert damaged.exists()


def test_an_image_that_takes_over_finds_it_too(box: MakeBox, damaged: Path) -> None:
    one = box()
    agent = Agent(one.agent._parts, Handed(due=0.0, canary=""))
    agent.advance()
    assert agent.step is Step.DAMAGED
    assert damaged.exists()


def test_a_reset_makes_a_new_box_of_it(hq: FakeHq, box: MakeBox, damaged: Path) -> None:
    before = installed_facts(Disk(damaged)).names
    assert sealing.reset(damaged).names == before
    assert Disk(damaged).current_pair() is None
    one = box()
    one.agent.run(until=Step.STEADY)
    assert one.store.state.names != before
    assert hq.book.violations == []


# ---- as a program


def test_the_program_serves_both_pages_and_each_command_says_so(hq: FakeHq, tmp_path: Path, box: MakeBox) -> None:
    one = box()
    one.agent.run(until=Step.STEADY)
    one.close()
    facts = installed_facts(one.disk)
    (one.disk.root / "state.json").write_bytes(newer((one.disk.root / "state.json").read_bytes()))
    ports = []
    for _ in range(2):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            ports.append(free.getsockname()[1])
    values = {
        "hq_url": hq.url,
        "hq_roots": str(tmp_path / "box-roots.pem"),
        "model": "m1",
        "state_dir": str(one.disk.root),
        "addresses": ["192.168.7.20"],
        "listen": f"127.0.0.1:{ports[0]}",
        "listen_plain": f"127.0.0.1:{ports[1]}",
    }
    config = tmp_path / "agent.toml"
    config.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items()))

    def command(name: str) -> tuple[int, str]:
        done = subprocess.run(
            [*COMMAND, name, "--config", str(config)], capture_output=True, text=True, timeout=30, check=False
        )
        return done.returncode, done.stdout + done.stderr

    code, told = command("enroll")
    assert (code, SENTENCE in told, "Traceback" in told) == (1, True, False)
    process = subprocess.Popen([*COMMAND, "run", "--config", str(config)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert SENTENCE in process.stdout.readline()
        found, deadline = None, time.monotonic() + 20
        while found is None and time.monotonic() < deadline:
            found = served.presented_leaf("127.0.0.1", ports[0], facts.names[0])
        assert found == facts.leaf_sha256
        with socket.create_connection(("127.0.0.1", ports[1]), 10) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            page = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
        assert "memory is damaged" in page
        assert "otscert-agent reset" in page
        assert facts.names[0] in page
        code, told = command("status")
        assert (code, SENTENCE in told, facts.names[0] in told) == (0, True, True)
    finally:
        process.terminate()
        process.communicate()
    assert process.returncode == 0
    assert command("reset")[0] == 0
    assert command("enroll")[0] == 0
