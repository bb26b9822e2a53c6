"""A kept connection to HQ that somebody closed meanwhile: never what a box waits for."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

import pytest
from agent.tests.harness.box import Enough, HeldTime, TestBox
from agent.tests.harness.hq import Call, FakeHq

from otscert_agent.errors import UnreachableError
from otscert_agent.steps import Step
from otscert_agent.transport import HttpsTransport, client_context
from otscert_agent.wire import messages

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
Script = list[list[bytes]]  # for each connection: what is sent after each request; then it is closed


class HangingUp:
    """HQ's port, with HQ's TLS leaf: answers each connection as its row says, then closes it without a word."""

    def __init__(self, hq: FakeHq, script: Script) -> None:
        self.requests: list[list[bytes]] = []
        self.closed = threading.Semaphore(0)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._context = hq._context
        self._script = script
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def _serve(self) -> None:
        for answers in self._script:
            try:
                plain = self._listener.accept()[0]
            except OSError:  # the test is over
                return
            heard: list[bytes] = []
            self.requests.append(heard)
            with contextlib.suppress(OSError), self._context.wrap_socket(plain, server_side=True) as connection:
                for answer in answers:
                    request = b""
                    while not request.endswith(b"}"):
                        if not (more := connection.recv(65536)):
                            raise ConnectionError
                        request += more
                    heard.append(request.rpartition(b"\r\n")[2])
                    connection.sendall(answer)
            self.closed.release()

    def stop(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)  # ends accept()
        self._listener.close()
        self._thread.join(5)


Start = Callable[..., tuple[HangingUp, Callable[[bytes], bytes]]]


@pytest.fixture
def start(hq: FakeHq) -> Iterator[Start]:
    made: list[tuple[HangingUp, HttpsTransport]] = []

    def begin(script: Script, *, idle_s: float = 60.0) -> tuple[HangingUp, Callable[[bytes], bytes]]:
        server = HangingUp(hq, script)
        url = f"https://127.0.0.1:{server.port}"
        context = client_context(hq.roots_pem.decode(), clock_trusted=False)
        transport = HttpsTransport(url, context, lambda _der: None, idle_s=idle_s)
        made.append((server, transport))
        return server, lambda body: transport.post(f"{url}/device/v1", body).body

    yield begin
    for server, transport in made:
        transport.close()
        server.stop()


def test_a_kept_connection_that_was_closed_is_replaced_and_the_same_bytes_are_sent(start: Start) -> None:
    server, post = start([[ANSWER], [ANSWER], [ANSWER]])
    for body in (b"{1}", b"{2}", b"{3}"):
        assert post(body) == b"ok"
        assert server.closed.acquire(timeout=5)
    assert server.requests == [[b"{1}"], [b"{2}"], [b"{3}"]]


def test_a_request_that_was_taken_without_an_answer_is_sent_once_more_and_no_oftener(start: Start) -> None:
    server, post = start([[ANSWER, b""], [b""], [ANSWER]])
    post(b"{1}")
    with pytest.raises(UnreachableError):
        post(b"{2}")
    assert server.requests == [[b"{1}", b"{2}"], [b"{2}"]]


def test_a_new_connection_that_is_dead_is_not_tried_twice(start: Start) -> None:
    server, post = start([[b""], [ANSWER]])
    with pytest.raises(UnreachableError):
        post(b"{1}")
    assert server.requests == [[b"{1}"]]


def test_a_connection_that_was_idle_for_long_is_not_used_again(start: Start) -> None:
    server, post = start([[ANSWER, ANSWER], [ANSWER]], idle_s=0.0)
    post(b"{1}")
    post(b"{2}")
    assert server.requests == [[b"{1}"], [b"{2}"]]


def test_a_connection_in_use_is_kept(start: Start) -> None:
    server, post = start([[ANSWER, ANSWER]])
    post(b"{1}")
    post(b"{2}")
    assert server.requests == [[b"{1}", b"{2}"]]


def silent_to_two_of_three(path: str) -> Callable[[Call], bytes | None]:
    """So that both the kept connection and the new one fail, and then there is an answer."""
    calls: list[Call] = []

    def silent(call: Call) -> bytes | None:
        if path not in call.path or (calls and calls[-1] is call):
            return None
        calls.append(call)
        return b"" if len(calls) % 3 else None

    return silent


@pytest.mark.parametrize(("path", "what"), [(messages.PATH_ENROLL, "pendings"), (messages.PATH_ORDERS, "waits")])
def test_troubles_with_signed_answers_between_them_do_not_add_up(
    hq: FakeHq, box: Callable[..., TestBox], path: str, what: str
) -> None:
    setattr(hq, what, 1000)
    hq.faults = [silent_to_two_of_three(path)] * 1000
    one = box(time=HeldTime(40))
    with pytest.raises(Enough):
        one.agent.run(until=Step.STEADY)
    assert "HQ cannot be reached" in "".join(line["why"] for line in one.lines("waiting"))
    assert max(one.time.waits) <= 5.0
