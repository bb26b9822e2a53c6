"""A kept connection to HQ that somebody closed meanwhile: never what a box waits for."""

from __future__ import annotations

import contextlib
import dataclasses
import socket
import threading
from collections.abc import Callable, Iterator

import pytest
from agent.tests.harness.box import Enough, HeldTime, TestBox
from agent.tests.harness.hq import Call, FakeHq

from otscert_agent import transport
from otscert_agent.errors import ProblemError, UnreachableError
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
        https = HttpsTransport(url, context, lambda _der: None, idle_s=idle_s)
        made.append((server, https))
        return server, lambda body: https.post(f"{url}/device/v1", body).body

    yield begin
    for server, https in made:
        https.close()
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


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("https://127.0.0.1:{free}", "HQ cannot be reached: nobody listens at 127.0.0.1:{free}"),
        ("https://127.0.0.1:{plain}", "HQ cannot be reached: the connection was closed"),
    ],
)
def test_a_connection_that_fails_is_told_in_words(hq: FakeHq, url: str, why: str) -> None:
    context = client_context(hq.roots_pem.decode(), clock_trusted=False)
    with socket.socket() as unused, socket.create_server(("127.0.0.1", 0)) as listener:
        unused.bind(("127.0.0.1", 0))  # and does not listen
        ports = {"free": unused.getsockname()[1], "plain": listener.getsockname()[1]}
        threading.Thread(target=hang_up_on_one, args=(listener,), daemon=True).start()
        https = HttpsTransport(url.format(**ports), context, lambda _der: None)
        with pytest.raises(UnreachableError) as caught:
            https.connect()
    assert str(caught.value) == why.format(**ports)


def test_a_name_without_address_is_told_in_words() -> None:
    error = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    assert transport._plainly(error, "hq.example.com", 443) == "no address was found for hq.example.com"
    assert transport._plainly(OSError(113, "No route to host"), "hq.example.com", 443) == "No route to host"


def test_what_does_not_speak_tls_is_told_in_words(hq: FakeHq) -> None:
    context = client_context(hq.roots_pem.decode(), clock_trusted=False)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=hang_up_on_one, args=(listener, b"SSH-2.0-box\r\n"), daemon=True).start()
        https = HttpsTransport(f"https://127.0.0.1:{listener.getsockname()[1]}", context, lambda _der: None)
        with pytest.raises(UnreachableError, match=r"TLS failed: [a-z ]+$"):
            https.connect()


def hang_up_on_one(listener: socket.socket, greeting: bytes = b"") -> None:
    with contextlib.suppress(OSError), listener.accept()[0] as connection:
        connection.sendall(greeting)
        connection.recv(65536)


def test_hqs_detail_says_it_and_the_title_stands_in_for_one_that_is_missing() -> None:
    bare = messages.Problem(type="urn:otscert:v1:retired", title="Out of service", status=403)
    assert str(ProblemError(bare)) == "Out of service"
    assert str(ProblemError(dataclasses.replace(bare, detail="HQ has taken it out"))) == "HQ has taken it out"
