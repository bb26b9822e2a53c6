"""Many datagrams in one call, on sockets of the kernel's own."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import pytest

from otscert.zones.datagrams import SLOT_BYTES, SLOTS, Batch
from otscert.zones.udp import udp_socket


@pytest.fixture(params=["127.0.0.1", "::1", "0.0.0.0"])
def server(request: pytest.FixtureRequest) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in request.param else socket.AF_INET
    with udp_socket(family, request.param, 0) as sock:
        yield sock


@contextlib.contextmanager
def client(server: socket.socket) -> Iterator[socket.socket]:
    with socket.socket(server.family, socket.SOCK_DGRAM) as sock:
        sock.settimeout(5)
        sock.connect((loopback(server), server.getsockname()[1]))
        yield sock


def loopback(server: socket.socket) -> str:
    return "::1" if server.family == socket.AF_INET6 else "127.0.0.1"


def batch(server: socket.socket) -> Batch:
    return Batch(server, anywhere=server.getsockname()[0] == "0.0.0.0")


def upper(query: bytes, _client: str) -> bytes:
    return query.upper()


def test_each_client_gets_the_answer_to_its_own_datagram(server: socket.socket) -> None:
    exchange = batch(server)
    seen = set()

    def answer(query: bytes, address: str) -> bytes:
        seen.add(address)
        return query * 2

    with client(server) as one, client(server) as other:
        for number in range(3):
            one.send(b"one %d" % number)
            other.send(b"other %d" % number)
        assert exchange.exchange(answer) == (6, 0)
        assert [one.recv(99) for _ in range(3)] == [b"one %d" % number * 2 for number in range(3)]
        assert [other.recv(99) for _ in range(3)] == [b"other %d" % number * 2 for number in range(3)]
    assert seen == {loopback(server)}


def test_what_does_not_fit_into_one_turn_waits_for_the_next(server: socket.socket) -> None:
    exchange = batch(server)
    with client(server) as asking:
        for number in range(SLOTS + 5):
            asking.send(b"question %d" % number)
        assert exchange.exchange(upper) == (SLOTS, 0)
        assert exchange.exchange(upper) == (5, 0)
        assert exchange.exchange(upper) == (0, 0)
        assert [asking.recv(99) for _ in range(SLOTS + 5)] == [b"QUESTION %d" % each for each in range(SLOTS + 5)]


def test_short_answers_follow_long_ones_and_empty_datagrams_are_datagrams(server: socket.socket) -> None:
    exchange = batch(server)
    with client(server) as asking:
        for query in (b"a" * 1232, b"", b"b"):
            asking.send(query)
            assert exchange.exchange(upper) == (1, 0)
            assert asking.recv(9999) == query.upper()


def test_silence_for_some_leaves_the_answers_of_the_others_where_they_belong(server: socket.socket) -> None:
    exchange = batch(server)
    with client(server) as asking:
        for query in (b"quiet", b"a", b"quiet", b"quiet", b"b", b"c", b"quiet"):
            asking.send(query)
        assert exchange.exchange(lambda query, _: None if query == b"quiet" else query.upper()) == (7, 0)
        assert [asking.recv(99) for _ in range(3)] == [b"A", b"B", b"C"]


def test_a_fault_at_one_datagram_costs_the_others_nothing_and_is_told(server: socket.socket) -> None:
    exchange = batch(server)

    def answer(query: bytes, _client: str) -> bytes:
        if query == b"bad":
            raise LookupError("at this one")
        return query.upper()

    with client(server) as asking:
        for query in (b"a", b"bad", b"b"):
            asking.send(query)
        with pytest.raises(LookupError, match="at this one"):
            exchange.exchange(answer)
        assert [asking.recv(99) for _ in range(2)] == [b"A", b"B"]


def test_a_datagram_that_is_too_long_is_cut_off(server: socket.socket) -> None:
    lengths = []
    with client(server) as asking:
        asking.send(b"x" * (SLOT_BYTES + 1))
        batch(server).exchange(lambda query, _: lengths.append(len(query)))
    assert lengths == [SLOT_BYTES]


def test_answers_that_the_kernel_does_not_take_are_counted(server: socket.socket) -> None:
    exchange = batch(server)
    with client(server) as asking:
        for _ in range(3):
            asking.send(b"a")
        # Linux stops an unconnected socket from sending all the same; each send is then EPIPE.
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_WR)
        assert exchange.exchange(upper) == (3, 3)


def test_a_socket_that_cannot_be_read_is_an_error(server: socket.socket) -> None:
    exchange = batch(server)
    server.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        exchange.exchange(upper)
