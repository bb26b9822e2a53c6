"""What is said of a server that gives no answer: a phrase for its owner, no name of an exception."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import dns.rdatatype
import pytest

from otscert.ops.doctor_ask import NoAnswer, ask

LOOPBACK = "127.0.0.1"


def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


def babble(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"\x00\x03abc")
    writer.close()


@pytest.mark.parametrize(
    ("server", "said"),
    [
        (hang_up, "the connection was closed before an answer came"),
        (babble, "what came is not an answer: ShortHeader The DNS packet passed to from_wire() is too short."),
    ],
    ids=["closed", "not DNS"],
)
async def test_what_came_instead_of_an_answer_is_said_in_words(
    server: Callable[[asyncio.StreamReader, asyncio.StreamWriter], None], said: str
) -> None:
    async with await asyncio.start_server(server, LOOPBACK, 0) as running:
        port = running.sockets[0].getsockname()[1]
        with pytest.raises(NoAnswer) as raised:
            await ask((LOOPBACK, port), "a.example", dns.rdatatype.A, tcp=True)
    assert str(raised.value) == said


async def test_nobody_there_is_said_as_the_system_says_it() -> None:
    async with await asyncio.start_server(hang_up, LOOPBACK, 0) as running:
        port = running.sockets[0].getsockname()[1]
    with pytest.raises(NoAnswer, match=r"^Connection refused$"):
        await ask((LOOPBACK, port), "a.example", dns.rdatatype.A, tcp=True)
