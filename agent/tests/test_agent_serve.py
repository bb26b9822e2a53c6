from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from agent.tests.harness import certificates as pki
from agent.tests.harness.box import HeldTime, TestBox
from agent.tests.harness.hq import FakeHq

from otscert_agent import app, page, served
from otscert_agent.acceptor import MAX_CONNECTIONS
from otscert_agent.disk import Disk
from otscert_agent.page import BoxStatus
from otscert_agent.serve import PairError, ReloadingHttpsServer
from otscert_agent.steps import Step

NAME = "abc.boxes.example.com"
STATUS = BoxStatus(name=NAME, names=[NAME], state="STEADY", device_id="device-1", not_before=0, not_after=1803168000)
CA = pki.make_root("Public CA")


def pair() -> pki.KeyPair:
    return pki.make_leaf(CA, usages=[pki.SERVER_AUTH], host=NAME)


def files(leaf: pki.KeyPair, key: pki.KeyPair | None = None) -> dict[str, bytes]:
    return {"chain.pem": leaf.pem + CA.pem, "key.pem": (key or leaf).key_pem}


def sha256(leaf: pki.KeyPair) -> str:
    return hashlib.sha256(leaf.der).hexdigest()


def ask(server: ReloadingHttpsServer, request: bytes) -> bytes:
    context = ssl.create_default_context(cadata=CA.pem.decode())
    context.verify_flags |= 0x200000
    with (
        socket.create_connection(server.address, 5) as plain,
        context.wrap_socket(plain, server_hostname=NAME) as connection,
    ):
        connection.sendall(request)
        answer = b""
        while received := connection.recv(4096):
            answer += received
        return answer


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    disk = Disk(tmp_path / "state")
    disk.prepare()
    return disk


@pytest.fixture
def server(disk: Disk) -> Iterator[ReloadingHttpsServer]:
    made = ReloadingHttpsServer(("127.0.0.1", 0), disk.current, page.handler(lambda: STATUS))
    yield made
    made.stop()


def presented(server: ReloadingHttpsServer) -> str | None:
    return served.presented_leaf(*server.address, NAME)


def test_nothing_listens_before_there_is_a_pair(server: ReloadingHttpsServer) -> None:
    with pytest.raises(PairError, match="does not exist yet"):
        server.start()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(server.address, 5)


def test_a_new_pair_is_served_from_the_next_connection_on(disk: Disk, server: ReloadingHttpsServer) -> None:
    first, second = pair(), pair()
    disk.install_pair(files(first))
    server.start()
    assert presented(server) == sha256(first)
    disk.install_pair(files(second))
    assert presented(server) == sha256(second)


def test_a_pair_that_does_not_fit_together_leaves_the_old_one_in_service(
    disk: Disk, server: ReloadingHttpsServer
) -> None:
    good, bad = pair(), pair()
    disk.install_pair(files(good))
    server.start()
    disk.install_pair(files(bad, key=good))
    assert presented(server) == sha256(good)
    assert "cannot be served" in str(server.error)
    assert ask(server, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").startswith(b"HTTP/1.1 200")
    disk.install_pair(files(bad))
    assert presented(server) == sha256(bad)
    assert server.error is None


def test_after_a_reset_the_old_key_is_not_served_from_memory(disk: Disk, server: ReloadingHttpsServer) -> None:
    disk.install_pair(files(pair()))
    server.start()
    assert presented(server) is not None
    disk.drop_pairs(keep_current=False)
    assert presented(server) is None


def test_a_client_that_says_nothing_keeps_nobody_else_waiting(disk: Disk, server: ReloadingHttpsServer) -> None:
    leaf = pair()
    disk.install_pair(files(leaf))
    server.start()
    with socket.create_connection(server.address, 5), socket.create_connection(server.address, 5) as junk:
        junk.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert presented(server) == sha256(leaf)


@pytest.fixture
def hurried(disk: Disk) -> Iterator[ReloadingHttpsServer]:
    disk.install_pair(files(pair()))
    made = ReloadingHttpsServer(("127.0.0.1", 0), disk.current, page.handler(lambda: STATUS), request_timeout_s=0.6)
    made.start()
    yield made
    made.stop()


def dripped_until_hung_up(connection: socket.socket) -> int:
    """Send a byte every 0.1 s; how many went out before the other side had closed. Not more than 50 are sent."""
    connection.settimeout(0.1)
    return next((sent for sent in range(50) if _is_hung_up(connection)), 50)


def _is_hung_up(connection: socket.socket) -> bool:
    try:
        connection.sendall(b"x")
        return connection.recv(1) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


def test_a_head_that_drips_in_has_one_deadline_as_a_whole(hurried: ReloadingHttpsServer) -> None:
    context = ssl.create_default_context(cadata=CA.pem.decode())
    context.verify_flags |= 0x200000
    with (
        socket.create_connection(hurried.address, 5) as plain,
        context.wrap_socket(plain, server_hostname=NAME) as connection,
    ):
        assert 3 <= dripped_until_hung_up(connection) < 20


def test_a_handshake_that_drips_in_has_the_same_deadline(hurried: ReloadingHttpsServer) -> None:
    with socket.create_connection(hurried.address, 5) as connection:
        connection.sendall(b"\x16\x03\x01\x02\x00")  # a record of 512 bytes is announced
        assert 3 <= dripped_until_hung_up(connection) < 20


def test_who_has_waited_longest_makes_room_and_a_full_page_is_still_seen(
    disk: Disk, server: ReloadingHttpsServer
) -> None:
    leaf = pair()
    disk.install_pair(files(leaf))
    server.start()
    with contextlib.ExitStack() as opened:
        crowd = [opened.enter_context(socket.create_connection(server.address, 5)) for _ in range(MAX_CONNECTIONS)]
        assert presented(server) == sha256(leaf)
        crowd[0].settimeout(2)
        assert crowd[0].recv(1) == b""
        crowd[-1].settimeout(0.1)
        with pytest.raises(TimeoutError):
            crowd[-1].recv(1)


def test_after_the_handshake_the_oldest_makes_room_as_well(disk: Disk, server: ReloadingHttpsServer) -> None:
    leaf = pair()
    disk.install_pair(files(leaf))
    server.start()
    context = ssl.create_default_context(cadata=CA.pem.decode())
    context.verify_flags |= 0x200000
    with contextlib.ExitStack() as opened:
        plain = opened.enter_context(socket.create_connection(server.address, 5))
        first = opened.enter_context(context.wrap_socket(plain, server_hostname=NAME))
        for _ in range(MAX_CONNECTIONS - 1):
            opened.enter_context(socket.create_connection(server.address, 5))
        assert presented(server) == sha256(leaf)
        first.settimeout(2)
        with contextlib.suppress(ssl.SSLEOFError):  # closed without TLS's own goodbye
            assert first.recv(1) == b""


def test_the_page_shows_name_and_validity_and_never_asks_for_hsts(disk: Disk, server: ReloadingHttpsServer) -> None:
    disk.install_pair(files(pair()))
    server.start()
    answer = ask(server, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").decode()
    assert NAME in answer
    assert "2027-02-21" in answer
    assert "strict-transport-security" not in answer.lower()
    assert "access-control-allow-origin" not in answer.lower()


@pytest.mark.parametrize("path", ["/.well-known/ots/ok", "/.well-known/ots/ok?n=12345"])
def test_the_probe_answers_any_origin_with_the_device_id(disk: Disk, server: ReloadingHttpsServer, path: str) -> None:
    disk.install_pair(files(pair()))
    server.start()
    head, _, body = ask(server, f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()).partition(b"\r\n\r\n")
    assert b"Access-Control-Allow-Origin: *" in head
    assert b"no-store" in head
    assert json.loads(body) == {"device": "device-1", "name": NAME}


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"GET /etc/passwd HTTP/1.1", b"404"),
        (b"POST / HTTP/1.1", b"405"),
        (b"\x00", b"405"),
        (b"HEAD / HTTP/1.1", b"200"),
    ],
)
def test_anything_else_is_answered_briefly(request_line: bytes, status: bytes) -> None:
    answer = page.answer(request_line + b"\r\n\r\n", STATUS)
    assert answer.split(b" ")[1] == status
    assert answer.endswith(b"\r\n\r\n") == request_line.startswith(b"HEAD")


def test_what_the_page_shows_is_escaped() -> None:
    assert "<script>" not in page.render(BoxStatus("<script>", [], "<script>", "", 0, 0, why="<script>"))


def test_a_makers_own_request_handler_class_works(disk: Disk) -> None:
    class Admin(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"admin page")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class named it
            pass

    disk.install_pair(files(pair()))
    server = ReloadingHttpsServer(("127.0.0.1", 0), disk.current, Admin)
    server.start()
    try:
        assert ask(server, b"GET / HTTP/1.0\r\n\r\n").endswith(b"admin page")
    finally:
        server.stop()


def test_connections_that_come_while_the_process_is_replaced_wait_and_are_served(disk: Disk) -> None:
    disk.install_pair(files(pair()))
    before = ReloadingHttpsServer(("127.0.0.1", 0), disk.current, page.handler(lambda: STATUS))
    before.start()
    before.drain(5.0)
    answers: list[bytes] = []
    client = threading.Thread(target=lambda: answers.append(ask(before, b"GET / HTTP/1.1\r\n\r\n")))
    client.start()
    listener = socket.socket(fileno=os.dup(before.listener.fileno()))
    after = ReloadingHttpsServer(("", 0), disk.current, page.handler(lambda: STATUS), listener=listener)
    after.start()
    client.join(10)
    after.stop()
    before.stop()
    assert answers[0].startswith(b"HTTP/1.1 200")


# ---- is what was issued also what is served?


class StubbornServer:
    """A web server that loads a pair when told to, or not at all."""

    def __init__(self, disk: Disk, *, reloads: bool = False, restarts: bool = False) -> None:
        self._disk = disk
        self._reloads, self._restarts = reloads, restarts
        self.told: list[str] = []
        self._folder = disk.current_pair()
        link = disk.root / "serving"
        self._link = link
        self._show()
        self.server = ReloadingHttpsServer(("127.0.0.1", 0), link, page.handler(lambda: STATUS))
        self.server.start()

    def _show(self) -> None:
        self._link.unlink(missing_ok=True)
        folder = self._disk.current_pair()
        assert folder is not None
        self._link.symlink_to(f"pairs/{folder.name}")

    def web(self) -> served.WebServer:
        host, port = self.server.address
        return served.WebServer(host=host, port=port, reload=self._reload, restart=self._restart)

    def _reload(self) -> str | None:
        self.told.append("reload")
        if self._reloads:
            self._show()
        return None

    def _restart(self) -> str | None:
        self.told.append("restart")
        if self._restarts:
            self._show()
        return None


@pytest.fixture
def stubborn(disk: Disk) -> Iterator[Callable[..., StubbornServer]]:
    made: list[StubbornServer] = []

    def make(**how: bool) -> StubbornServer:
        made.append(StubbornServer(disk, **how))
        return made[-1]

    yield make
    for one in made:
        one.server.stop()


@pytest.mark.parametrize(
    ("how", "told"),
    [({"reloads": True}, ["reload"]), ({"restarts": True}, ["reload", "restart"])],
)
def test_a_web_server_that_still_has_the_old_pair_is_reloaded_then_restarted(
    disk: Disk, stubborn: Callable[..., StubbornServer], how: dict[str, bool], told: list[str]
) -> None:
    disk.install_pair(files(pair()))
    server = stubborn(**how)
    new = pair()
    disk.install_pair(files(new))
    check = served.verify(server.web(), sha256(new), NAME, disk, HeldTime().wait)
    assert check.ok
    assert check.served_sha256 == sha256(new)
    assert server.told == told


def test_when_nothing_helps_the_box_goes_back_to_the_pair_that_is_served(
    disk: Disk, stubborn: Callable[..., StubbornServer]
) -> None:
    old, new = pair(), pair()
    disk.install_pair(files(old))
    server = stubborn()
    disk.install_pair(files(new))
    check = served.verify(server.web(), sha256(new), NAME, disk, HeldTime().wait)
    assert (check.ok, check.rolled_back, check.served_sha256) == (False, True, sha256(old))
    assert "another certificate is served" in check.why
    folder = disk.current_pair()
    assert folder is not None
    assert folder.name == "000001"


def test_silence_is_no_reason_to_go_back(disk: Disk) -> None:
    disk.install_pair(files(pair()))
    new = pair()
    folder = disk.install_pair(files(new))
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        web = served.WebServer(host="127.0.0.1", port=unused.getsockname()[1], reload=lambda: None)
        check = served.verify(web, sha256(new), NAME, disk, HeldTime().wait)
    assert (check.ok, check.rolled_back, check.served_sha256) == (False, False, None)
    assert "nothing is served" in check.why
    assert disk.current_pair() == folder


def test_after_a_way_back_the_old_pair_does_not_count_as_issued_and_the_new_one_stays(
    hq: FakeHq, box: Callable[..., TestBox]
) -> None:
    first = box()
    first.agent.run(until=Step.STEADY)
    root = first.disk.root
    (root / "serving").symlink_to("pairs/000001")  # a web server that never looks again
    first.close()
    web_server = ReloadingHttpsServer(("127.0.0.1", 0), root / "serving", page.handler(lambda: STATUS))
    web_server.start()
    try:
        host, port = web_server.address
        one = box(web=served.WebServer(host=host, port=port))
        one.agent.run(until=Step.STEADY)
        assert one.agent.served_as_issued
        hq.book.commands = ["renew"]
        one.agent.advance()
        one.agent.run(until=Step.STEADY)
        assert one.lines("problem")[-1]["rolled_back"]
        for _ in range(2):
            one.agent.advance()  # check-ins, which look as well
        assert len(one.lines("serving")) == 1  # said before the renewal, and not of what is served since
        one.close()
        after_power_cut = box(web=served.WebServer(host=host, port=port))
        after_power_cut.agent.run(until=Step.STEADY)
        for agent in (one.agent, after_power_cut.agent):
            assert not agent.served_as_issued
        assert [folder.name for folder in one.disk.versions()] == ["000001", "000002"]
        assert app.status(one.settings)["served_as_issued"] is False
    finally:
        web_server.stop()


def test_the_first_pair_has_nothing_to_go_back_to(disk: Disk) -> None:
    leaf = pair()
    disk.install_pair(files(leaf))
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        web = served.WebServer(host="127.0.0.1", port=port, reload=lambda: "no such command", restart=lambda: None)
        check = served.verify(web, sha256(leaf), NAME, disk, HeldTime().wait)
    assert (check.ok, check.rolled_back, check.served_sha256) == (False, False, None)
    assert "nothing is served" in check.why
    assert "no such command" in check.why


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ([sys.executable, "-c", ""], None),
        ([sys.executable, "-c", "raise SystemExit(3)"], "ended with status 3"),
        (["/nowhere/reload"], "No such file"),
    ],
)
def test_commands_are_run_without_a_shell_and_say_why_they_failed(command: list[str], why: str | None) -> None:
    found = served.run_command(command)
    assert found is None if why is None else why in (found or "")


def test_commands_learn_none_of_the_agents_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OTSCERT_AGENT_TOKEN", "secret")
    monkeypatch.setenv("OTSCERT_AGENT_MODEL", "m1")
    monkeypatch.setenv("OTHER", "kept")
    seen = tmp_path / "environment.json"
    told = "import json, os, sys; json.dump(dict(os.environ), open(sys.argv[1], 'w'))"
    assert served.run_command([sys.executable, "-c", told, str(seen)]) is None
    environment = json.loads(seen.read_text())
    assert environment["OTHER"] == "kept"
    assert not [name for name in environment if name.startswith("OTSCERT_AGENT_")]


@pytest.mark.parametrize(
    ("why", "verdict", "begins"),
    [
        (None, None, "All is well."),
        ("HQ cannot be reached", None, "This certificate is served."),
        ("HQ's operator has taken this box out of service", "out of service", "Out of service"),
        ("the unit is blocked", "not admitted", "Not admitted"),
    ],
)
def test_all_is_well_only_when_it_is(why: str | None, verdict: str | None, begins: str) -> None:
    shown = page.render(dataclasses.replace(STATUS, why=why, verdict=verdict))
    assert f"<dt>State</dt><dd>{begins}" in shown
    assert ("All is well" in shown) == (why is None)
