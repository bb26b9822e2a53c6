"""An HQ that says what it should not, by malice or by a slip: it neither loses the box nor makes it rage."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from agent.tests.harness.box import Enough, FixedKernel, TestBox
from agent.tests.harness.hq import Call, FakeHq, Fault

from otscert_agent.errors import NotReadyError, UnreachableError
from otscert_agent.loop import Agent
from otscert_agent.report import Report
from otscert_agent.steps import Step
from otscert_agent.transport import HttpsTransport, client_context
from otscert_agent.wire import jws, messages
from otscert_agent.wire.problems import ProblemType

MakeBox = Callable[..., TestBox]


def answering(hq: FakeHq, path: str, make: Callable[[Call], Any]) -> Fault:
    """HQ's signed answer to each call of `path`."""

    def answer(call: Call) -> bytes | None:
        if call.path != path:
            return None
        return hq.sign(make(call), hq._key(call.request).thumbprint(), call.request)

    return answer


def problem(kind: ProblemType, **members: Any) -> Callable[[Call], messages.Problem]:
    return lambda _call: messages.Problem(type=kind.value, title="No.", status=400, **members)


@pytest.mark.parametrize(
    "order",
    [
        "https://127.0.0.1:99999999/device/v1/orders/x",
        "https://[::1/device/v1/orders/x",
        "{url}/device/v1/orders/\u00e9",
        "{url}/device/v1/orders/a b",
        "https://elsewhere.example/device/v1/orders/x",
    ],
)
def test_an_order_that_cannot_be_called_is_not_kept(hq: FakeHq, box: MakeBox, order: str) -> None:
    def granted(call: Call) -> messages.Granted:
        answer = json.loads(jws.parse(hq._work(call, hq._key(call.request))).payload)
        return dataclasses.replace(messages.from_object(messages.Granted, answer), order=order.format(url=hq.url))

    hq.refusals.append(answering(hq, messages.PATH_ENROLL, granted))
    one = box()
    while not one.lines("problem"):
        one.agent.advance()
    assert one.store.state.pending is not None
    assert one.store.state.pending.order is None
    one.agent.run(until=Step.STEADY)  # HQ has been put right meanwhile
    assert len(hq.book.devices) == 1


@pytest.mark.parametrize("kind", [ProblemType.START_OVER, ProblemType.USED_D0, ProblemType.UNKNOWN_KEY])
def test_the_same_no_to_every_hello_is_heard_ever_more_seldom(hq: FakeHq, box: MakeBox, kind: ProblemType) -> None:
    hq.refusals += [answering(hq, messages.PATH_HELLO, problem(kind)) for _ in range(12)]
    one = box()
    while hq.refusals:
        one.agent.advance()
    assert sum(one.time.waits[6:12]) > 60
    one.agent.run(until=Step.STEADY)


def test_orders_that_fail_one_after_the_other_are_made_ever_more_seldom(hq: FakeHq, box: MakeBox) -> None:
    failed = messages.OrderState(status="failed", why="the CA says no")

    def fails(call: Call) -> bytes | None:
        return answering(hq, call.path, lambda _: failed)(call) if messages.PATH_ORDERS in call.path else None

    hq.refusals += [fails] * 12
    one = box()
    while hq.refusals:
        one.agent.advance()
    assert sum(one.time.waits[6:]) > 60
    one.agent.run(until=Step.STEADY)
    assert one.agent._anew.next_s() < 1.0  # and what came of it in the end has made it forget that


def test_a_kernel_that_is_ready_for_the_look_only_is_not_asked_in_a_rage(box: MakeBox) -> None:
    class Liar(FixedKernel):
        asked = 0

        def random(self, length: int) -> bytes:
            self.asked += 1
            if length == 32:
                raise NotReadyError("not yet")
            return super().random(length)

    kernel = Liar()
    one = box(kernel=kernel)
    with pytest.raises(Enough):
        one.agent.run()
    assert kernel.asked < 4 * one.time.most_waits
    assert sum(one.time.waits) > 3600


def test_what_is_no_http_is_not_repeated_on_page_and_in_log(hq: FakeHq, box: MakeBox) -> None:
    """Said by somebody with HQ's TLS key alone: he may keep the box from HQ, but not talk to its owner."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with listener:
            connection = hq._context.wrap_socket(listener.accept()[0], server_side=True)
            with connection:
                connection.recv(65536)
                connection.sendall(b"\x1b[2J\x07Call 555-0100 to activate this box\r\n\r\n")

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    one = box(hq_url=f"https://127.0.0.1:{listener.getsockname()[1]}")
    while not one.lines("waiting"):
        one.agent.advance()
    thread.join()
    why = one.lines("waiting")[-1]["why"]
    assert "555" not in why
    assert "BadStatusLine" in why


@pytest.mark.parametrize(
    "begin", [b"", b"HTTP/1.1 200 OK\r\nX-Drip: ", b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n"]
)
def test_an_answer_that_drips_has_one_deadline(hq: FakeHq, begin: bytes) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    drops, most = 0, 150

    def drip() -> None:
        nonlocal drops
        with listener, hq._context.wrap_socket(listener.accept()[0], server_side=True) as connection:
            connection.recv(65536)
            connection.sendall(begin)
            with contextlib.suppress(OSError):
                while drops < most:
                    connection.sendall(b"1")
                    drops += 1
                    time.sleep(0.1)

    thread = threading.Thread(target=drip, daemon=True)
    thread.start()
    url = f"https://127.0.0.1:{listener.getsockname()[1]}"
    context = client_context(hq.roots_pem.decode(), clock_trusted=False)
    transport = HttpsTransport(url, context, lambda _der: None, whole_timeout_s=1.0)
    with pytest.raises(UnreachableError, match=r"took too long|timed out"):
        transport.post(f"{url}/device/v1", b"{}")
    thread.join()
    assert drops < most


def test_new_boxes_that_differ_in_their_hardware_alone_do_not_call_in_step(box: MakeBox) -> None:
    """A street is switched on for the first time while HQ is away: no box has a pool yet."""
    one, other = box(serial="S1"), box("other", serial="S2")
    first, second = Agent(one.agent._parts), Agent(dataclasses.replace(other.agent._parts, disk=one.disk))
    assert one.store.state.pool == other.store.state.pool == b""
    assert first._backoff.fraction() != second._backoff.fraction()


def test_a_reason_of_hqs_is_one_line_of_the_log() -> None:
    said = io.StringIO()
    report = Report(None, as_json=False, stream=said)
    report.problem("refused\nserving https://bank.example/ \x1b[2J\u202eon")
    assert said.getvalue() == "problem: refused serving https://bank.example/  [2J on\n"
