"""A name server with the example zone, and three tools to ask it."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.zone.ask import TOOLS, Question
from tests.zone.reply import Reply
from tests.zone.served import HOST, ORIGIN, Served, example_zone, serve

Ask = Callable[..., Reply]
Send = Callable[[bytes], bytes | None]


@pytest.fixture(scope="session")
def served() -> Iterator[Served]:
    """The example zone as it is; nobody changes it."""
    with serve(example_zone()) as running:
        yield running


@pytest.fixture
def changing() -> Iterator[Served]:
    """The example zone, to be changed."""
    with serve(example_zone()) as running:
        yield running


@pytest.fixture(params=list(TOOLS))
def tool(request: pytest.FixtureRequest) -> str:
    """Each of dnspython, dig and kdig in turn."""
    return str(request.param)


@pytest.fixture
def ask_at(tool: str) -> Callable[..., Reply]:
    """Ask a server at a port. What every answer must have is judged here, so each rule's test shows it again."""

    def ask(port: int, name: str, rtype: str = "A", **options: Any) -> Reply:
        whole = name if name.endswith(".") else f"{name}.{ORIGIN}.".lstrip(".")
        question = Question(name=whole, rtype=rtype, **options)
        reply = TOOLS[tool](question, port)
        assert "qr" in reply.flags
        assert "ra" not in reply.flags
        assert ("rd" in reply.flags) == question.rd
        assert reply.question == (whole, question.rdclass, rtype)
        assert (reply.edns is not None) == (question.edns is not None)
        return reply

    return ask


@pytest.fixture
def ask(served: Served, ask_at: Callable[..., Reply]) -> Ask:
    """Ask the example zone: `ask("both", "AAAA", edns=0)`; names are relative to the origin, "" is the origin."""
    return lambda name, rtype="A", **options: ask_at(served.port, name, rtype, **options)


@pytest.fixture
def send(served: Served) -> Iterator[Send]:
    """Send a datagram to the example zone; None when there is no answer to it before the answer to the next one."""
    with sender(served) as send_octets:
        yield send_octets


@contextmanager
def sender(to: Served) -> Iterator[Send]:
    """What `send` gives, for any server."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(10)
        client.connect((HOST, to.port))

        def send_octets(query: bytes) -> bytes | None:
            # Datagrams on loopback keep their order: silence shows in what comes back first.
            client.send(query)
            client.send(_PROBE)
            first = client.recv(65_535)
            if first[:2] == _PROBE[:2]:
                return None
            assert client.recv(65_535)[:2] == _PROBE[:2]
            return first

        yield send_octets


_PROBE = b"\xfe\xed\0\0\0\1\0\0\0\0\0\0\0\0\1\0\1"
