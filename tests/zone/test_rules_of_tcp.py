"""DNS over TCP (RFC 7766), on plain sockets, and the tools' own ways to keep a connection."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack

import dns.message
import pytest

from tests.harness.parts import require_part
from tests.zone.rules import SOCKETS, rule
from tests.zone.served import HOST, ORIGIN, Served, example_zone, serve

WITHIN_S = 10


def framed(name: str, rtype: str = "A", *, ident: int) -> bytes:
    octets = dns.message.make_query(f"{name}.{ORIGIN}", rtype, id=ident).to_wire()
    return len(octets).to_bytes(2) + octets


def connect(port: int) -> socket.socket:
    client = socket.create_connection((HOST, port), timeout=WITHIN_S)
    client.settimeout(WITHIN_S)
    return client


def receive(client: socket.socket) -> dns.message.Message:
    def exactly(size: int) -> bytes:
        octets = b""
        while len(octets) < size:
            more = client.recv(size - len(octets))
            assert more, "the server closed"
            octets += more
        return octets

    return dns.message.from_wire(exactly(int.from_bytes(exactly(2))))


@rule(7766, "6.2.1.1", "queries may be pipelined: none waits for the answer to another", asked_with=SOCKETS)
@rule(7766, "7", "each answer belongs to its question by id and name; ours keep their order too", asked_with=SOCKETS)
def test_pipelined_queries_are_all_answered(served: Served) -> None:
    names = ["both", "unknown", "_acme-challenge.huge", "four"] * 50
    with connect(served.port) as client:
        client.sendall(b"".join(framed(name, "TXT", ident=number) for number, name in enumerate(names)))
        answers = [receive(client) for _ in names]
    assert [answer.id for answer in answers] == list(range(len(names)))
    assert [str(answer.question[0].name) for answer in answers] == [f"{name}.{ORIGIN}." for name in names]


@rule(7766, "6.2.1", "a connection is used again; the server does not close after an answer", asked_with=SOCKETS)
def test_a_connection_is_used_again(served: Served) -> None:
    with connect(served.port) as client:
        for ident in range(5):
            client.sendall(framed("both", ident=ident))
            assert receive(client).id == ident


@rule(7766, "6.2.2", "several connections at once, whoever opens them", asked_with=SOCKETS)
def test_several_connections_are_served_at_once(served: Served) -> None:
    with ExitStack() as stack:
        clients = [stack.enter_context(connect(served.port)) for _ in range(20)]
        for ident, client in enumerate(reversed(clients)):
            client.sendall(framed("both", ident=ident))
        assert [receive(client).id for client in reversed(clients)] == list(range(20))


@rule(7766, "8", "length and message may come in any pieces", asked_with=SOCKETS)
def test_a_message_may_come_in_pieces(served: Served) -> None:
    octets = framed("both", ident=5) + framed("four", ident=6)
    with connect(served.port) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(0, len(octets), 7):
            client.sendall(octets[at : at + 7])
        assert [receive(client).id, receive(client).id] == [5, 6]


@rule(9293, "3.6", "a client that has ended its own side only still gets its answers", asked_with=SOCKETS)
def test_a_half_closed_connection_is_answered_to_the_end(served: Served) -> None:
    with connect(served.port) as client:
        client.sendall(b"".join(framed("_acme-challenge.huge", "TXT", ident=ident) for ident in range(30)))
        client.shutdown(socket.SHUT_WR)
        assert [receive(client).id for _ in range(30)] == list(range(30))
        assert client.recv(1) == b""


@pytest.fixture
def impatient() -> Iterator[Served]:
    with serve(example_zone(), idle_s=0.4) as running:
        yield running


@rule(7766, "6.2.3", "an idle connection is closed by the server, one in use is not", asked_with=SOCKETS)
def test_an_idle_connection_is_closed(impatient: Served) -> None:
    with connect(impatient.port) as idle, connect(impatient.port) as used:
        begun = time.monotonic()
        idle.settimeout(0.1)
        closed = False
        for ident in range(100):
            used.sendall(framed("both", ident=ident))
            assert receive(used).id == ident
            try:
                closed = idle.recv(1) == b""
            except TimeoutError:
                continue
            except ConnectionResetError:
                closed = True
            break
        assert closed
        assert time.monotonic() - begun >= 0.3
        used.sendall(framed("both", ident=999))
        assert receive(used).id == 999


@rule(7766, "5", "TCP needs no UDP before it", asked_with="dig, kdig")
@pytest.mark.parametrize("tool", ["dig", "kdig"])
def test_the_tools_keep_one_connection_for_several_questions(served: Served, tool: str) -> None:
    part = require_part(tool)
    line = [str(part.path), f"@{HOST}", "-p", str(served.port), "+tcp", "+keepopen"]
    for name, rtype in (("both", "A"), ("_acme-challenge.huge", "TXT"), ("unknown", "A")):
        line += ["-q", f"{name}.{ORIGIN}", "-t", rtype, "+tcp", "+keepopen"]
    ended = subprocess.run(line, env={**os.environ, **part.env}, capture_output=True, text=True, check=True, timeout=30)
    assert ended.stdout.count("status: NOERROR") == 2
    assert ended.stdout.count("status: NXDOMAIN") == 1
    assert ended.stdout.count('"000000') == 40
