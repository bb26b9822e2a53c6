"""The page over plain HTTP: what it says in each state, to whom, and that it is there before everything else."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from agent.tests.harness.hq import FakeHq

from otscert_agent import app, plain_page
from otscert_agent.acceptor import MAX_CONNECTIONS
from otscert_agent.plain import PlainServer
from otscert_agent.plain_page import View
from otscert_agent.steps import Step

NAME = "abc.boxes.example.com"
COMMAND = [sys.executable, "-m", "otscert_agent.cli"]


def get(host: str = "192.168.1.5", first: str = "GET / HTTP/1.1", view: View | None = None) -> tuple[str, str]:
    request = f"{first}\r\nHost: {host}\r\n\r\n".encode()
    head, _, body = plain_page.answer(request, view or View(step="LOCK"), [NAME]).decode().partition("\r\n\r\n")
    return head, body


# ---- what it says


@pytest.mark.parametrize(
    ("view", "title"),
    [
        (View(step="not started"), "Starting"),
        (View(step="LOCK"), "Starting"),
        (View(step="HOLD", why="on hold: ..."), "On hold"),
        (View(step="ENTROPY"), "Starting"),
        (View(step="ENTROPY", why="waiting for randomness: ..."), "Waiting for randomness"),
        (View(step="NETWORK"), "Calling the maker's server"),
        (View(step="NETWORK", online=False), "Waiting for the network"),
        (View(step="NETWORK", why="HQ cannot be reached"), "Waiting for the maker's server"),
        (View(step="HELLO", why="No."), "Waiting for the maker's server"),
        (View(step="ENROL"), "Getting a certificate"),
        (View(step="ENROL", why="later"), "Waiting to be admitted"),
        (View(step="ENROL", why="a person decides", pairing_code="ABCDEFGH"), "Waiting for approval"),
        (View(step="ENROL", why="HQ refused this box: no", verdict="not admitted"), "Not admitted"),
        (View(step="HELLO", why="no manifest has it", verdict="not admitted"), "Not admitted"),
        (View(step="STEADY", why="HQ's operator has ...", verdict="out of service"), "Out of service"),
        (View(step="CERTIFICATE"), "Getting a certificate"),
        (View(step="INSTALL"), "Getting a certificate"),
        (View(step="VERIFY_SERVED"), "Getting a certificate"),
        (View(step="STEADY", url=f"https://{NAME}/"), "This box is ready"),
    ],
)
def test_each_state_has_its_heading(view: View, title: str) -> None:
    assert plain_page.message(view).title == title


@pytest.mark.parametrize("step", list(Step))
def test_no_step_is_without_words(step: Step) -> None:
    assert plain_page.message(View(step=step.value)).title


def test_the_reason_is_there_for_whoever_helps() -> None:
    body = get(view=View(step="NETWORK", why="HQ cannot be reached: connection refused"))[1]
    assert "connection refused" in body


def test_the_pairing_code_is_large_and_in_two_halves() -> None:
    body = get(view=View(step="ENROL", why="a person decides", pairing_code="ABCDEFGH"))[1]
    assert '<p class="code"><b>ABCD</b><b>EFGH</b></p>' in body


def test_the_code_is_shown_once_with_the_box_it_is_for_and_how_long_it_holds() -> None:
    why = "a person decides: give the code ABCDEFGH to whoever runs HQ"
    body = get(view=View(step="ENROL", why=why, pairing_code="ABCDEFGH", model="cam-2", serial="S<17"))[1]
    assert "ABCDEFGH" not in body
    assert "model cam-2, serial S&lt;17." in body
    assert "15 minutes" in body
    assert "serial" not in get(view=View(step="ENROL", why=why, pairing_code="ABCDEFGH", model="cam-2"))[1]


def test_hqs_sentence_about_a_box_that_it_does_not_serve_is_there() -> None:
    view = View(step="STEADY", why="HQ has taken this box <out> of service", verdict="out of service")
    assert "<p>HQ has taken this box &lt;out&gt; of service</p>" in get(view=view)[1]


def test_once_https_is_served_there_is_a_way_to_it() -> None:
    url = f"https://{NAME}:8443/"
    assert f'<a href="{url}">' in get(view=View(step="STEADY", url=url))[1]
    assert "<a " not in get(view=View(step="CERTIFICATE"))[1]


def test_what_comes_from_elsewhere_is_escaped() -> None:
    evil = "<script>alert(1)</script>"
    body = get(view=View(step="ENROL", why=evil, pairing_code=evil, url=evil))[1]
    assert "<script" not in body


def test_nothing_may_run_or_frame_or_keep_the_page() -> None:
    head = get()[0]
    assert "Content-Security-Policy: default-src 'none'" in head
    assert "frame-ancestors 'none'" in head
    assert "Cache-Control: no-store" in head
    assert "access-control" not in head.lower()


# ---- to whom


@pytest.mark.parametrize(
    "host",
    "192.168.1.5 192.168.1.5:8080 [fd00::1] [fd00::1]:80 localhost localhost:80 my-box.local MY-BOX.local."
    " my-box-2.local:8080 7.local"
    f" {NAME} {NAME.upper()}:80".split(),
)
def test_an_address_or_a_name_of_its_own_is_answered(host: str) -> None:
    assert get(host)[0].startswith("HTTP/1.1 200")


@pytest.mark.parametrize(
    "host",
    "evil.example evil.example:80 192.168.1.5.evil.example local xlocalhost :80 evil.local.example [evil.local] [::1"
    " .local -a.local a-.local a_b.local a..local a.b.local .a.local my-box.local.."
    f" [::1]x 1.2.3.4:x boxes.example.com x{NAME} 0x7f000001 127.1 ,".split(),
)
def test_a_foreign_name_is_not_answered(host: str) -> None:
    view = View(step="ENROL", pairing_code="ABCDEFGH")
    head, body = get(host, view=view)
    assert head.startswith("HTTP/1.1 421")
    assert "ABCD" not in body


def test_a_name_with_a_space_is_none() -> None:
    assert get("a b.local")[0].startswith("HTTP/1.1 421")


@pytest.mark.parametrize("lines", ["", "Host: 10.0.0.1\r\nHost: evil.example\r\n"])
def test_a_request_names_one_host(lines: str) -> None:
    request = f"GET / HTTP/1.1\r\n{lines}\r\n".encode()
    assert plain_page.answer(request, View(step="LOCK"), []).startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize(
    ("first", "status"),
    [
        ("POST / HTTP/1.1", "405"),
        ("HEAD / HTTP/1.1", "405"),
        ("DELETE / HTTP/1.1", "405"),
        ("\x00", "405"),
        ("GET /other HTTP/1.1", "404"),
        ("GET http://evil.example/ HTTP/1.1", "404"),
        ("GET /?x=1 HTTP/1.1", "200"),
    ],
)
def test_the_page_can_only_be_read(first: str, status: str) -> None:
    assert get(first=first)[0].split(" ")[1] == status


# ---- its port


@pytest.fixture
def server() -> Iterator[PlainServer]:
    made = PlainServer(("127.0.0.1", 0), lambda request: b"HTTP/1.1 200 OK\r\n\r\n" + request, request_timeout_s=0.6)
    made.start()
    yield made
    made.stop()


def test_a_client_that_drips_has_one_deadline(server: PlainServer) -> None:
    with socket.create_connection(server.address, 5) as connection:
        connection.settimeout(0.1)
        began = time.monotonic()
        with contextlib.suppress(OSError):
            while time.monotonic() - began < 5:
                connection.sendall(b"x")
                with contextlib.suppress(TimeoutError):
                    if connection.recv(1) == b"":
                        break
        assert 0.4 < time.monotonic() - began < 3


def test_a_crowd_makes_room(server: PlainServer) -> None:
    with contextlib.ExitStack() as opened:
        for _ in range(MAX_CONNECTIONS):
            opened.enter_context(socket.create_connection(server.address, 5))
        last = opened.enter_context(socket.create_connection(server.address, 5))
        last.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert last.recv(12) == b"HTTP/1.1 200"


def test_a_head_that_never_ends_is_hung_up_on(server: PlainServer) -> None:
    with socket.create_connection(server.address, 5) as connection:
        with contextlib.suppress(OSError):
            connection.sendall(b"x" * 100_000)
        with contextlib.suppress(ConnectionResetError):
            assert connection.recv(1) == b""


# ---- in the program


class Program:
    """A real agent with both pages on free ports."""

    def __init__(self, folder: Path, hq: FakeHq) -> None:
        (folder / "roots.pem").write_bytes(hq.roots_pem)
        self.state = folder / "state"
        self.state.mkdir()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address: tuple[str, int] = free.getsockname()
        self.config = folder / "agent.toml"
        values = {
            "hq_url": hq.url,
            "hq_roots": str(folder / "roots.pem"),
            "model": "m1",
            "state_dir": str(self.state),
            "addresses": ["192.168.7.20"],
            "listen": "127.0.0.1:0",
            "listen_plain": f"127.0.0.1:{self.address[1]}",
        }
        self.config.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items()))
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> subprocess.Popen[str]:
        self.process = subprocess.Popen(
            [*COMMAND, "run", "--json", "--config", str(self.config)], stdout=subprocess.PIPE, text=True
        )
        return self.process

    def page(self, shows: str) -> str:
        """Ask until the page shows `shows`."""
        deadline, seen = time.monotonic() + 20, ""
        while time.monotonic() < deadline:
            with contextlib.suppress(ConnectionRefusedError), socket.create_connection(self.address, 5) as connection:
                connection.sendall(f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{self.address[1]}\r\n\r\n".encode())
                seen = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
                if shows in seen:
                    return seen
            time.sleep(0.02)
        raise AssertionError(f"the page never showed {shows!r}: {seen}")


@pytest.fixture
def program(hq: FakeHq, tmp_path: Path) -> Iterator[Program]:
    made = Program(tmp_path, hq)
    yield made
    if made.process is not None:
        made.process.kill()
        made.process.communicate()


def serving(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    for line in process.stdout:
        found: dict[str, Any] = json.loads(line)
        if found["kind"] == "serving":
            return found
    raise AssertionError("the agent ended without serving")


def test_the_page_is_there_before_there_is_anything_else_and_leads_to_https_at_last(
    hq: FakeHq, program: Program
) -> None:
    (program.state / "hold").write_text("")
    process = program.start()
    program.page("On hold")
    assert hq.book.calls == []
    hq.pendings = 10_000
    (program.state / "hold").unlink()
    assert "<b>ABCD</b><b>EFGH</b>" in program.page("Waiting for approval")
    hq.pendings = 0
    found = serving(process)
    program.page(f"https://{found['name']}:{found['port']}/")
    process.terminate()
    assert process.wait(10) == 0


def test_the_page_goes_on_in_the_small_process(program: Program) -> None:
    process = program.start()
    serving(process)
    maps = Path(f"/proc/{process.pid}/maps")
    deadline = time.monotonic() + app.GRACE_S + 20
    while "cryptography" in maps.read_text():
        assert time.monotonic() < deadline, "the process never became small"
        time.sleep(0.05)
    seen = program.page("This box is ready")
    assert "https://" in seen


def test_a_port_in_use_is_named(program: Program) -> None:
    with socket.socket() as taken:
        taken.bind(program.address)
        taken.listen()
        done = subprocess.run(
            [*COMMAND, "run", "--config", str(program.config)], capture_output=True, text=True, timeout=30, check=False
        )
    assert done.returncode == 2
    assert f"listen_plain = 127.0.0.1:{program.address[1]}" in done.stderr
