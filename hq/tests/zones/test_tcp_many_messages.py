"""Many messages for one query over TCP, as of a zone transfer: order, back-pressure, time-outs, errors."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from otscert.zones.tcp import Answer, TcpConnections

Client = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def serving(answer: Answer, *, idle_s: float = 5.0) -> AsyncIterator[Callable[[], Awaitable[Client]]]:
    connections = TcpConnections(answer, most=3, idle_s=idle_s)
    server = await asyncio.get_running_loop().create_server(connections.connection, "127.0.0.1", 0)
    address = server.sockets[0].getsockname()
    writers = []

    async def connect() -> Client:
        client = await asyncio.open_connection(*address)
        writers.append(client[1])
        return client

    async with asyncio.timeout(20):
        yield connect
    for writer in writers:
        writer.close()
    connections.close()
    server.close()
    await server.wait_closed()


async def read_one(reader: asyncio.StreamReader) -> bytes:
    return await reader.readexactly(int.from_bytes(await reader.readexactly(2)))


def framed(*messages: bytes) -> bytes:
    return b"".join(len(message).to_bytes(2) + message for message in messages)


async def test_many_messages_come_in_order_and_the_next_query_after_them() -> None:
    asked_by = []

    async def count(start: int) -> AsyncGenerator[bytes, None]:
        for number in range(start, start + 5):
            yield b"%d" % number

    def answer(query: bytes, client: str) -> bytes | AsyncGenerator[bytes, None]:
        asked_by.append(client)
        return count(int(query)) if query.isdigit() else query

    async with serving(answer) as connect:
        reader, writer = await connect()
        writer.write(framed(b"a", b"10", b"b", b"20", b"c"))
        writer.write_eof()
        wanted = [b"a", *(b"%d" % n for n in range(10, 15)), b"b", *(b"%d" % n for n in range(20, 25)), b"c"]
        assert [await read_one(reader) for _ in wanted] == wanted
        assert await reader.read() == b""
    assert asked_by == ["127.0.0.1"] * 5


async def test_a_client_that_does_not_read_holds_the_messages_up_and_is_closed_when_its_time_is_over() -> None:
    made = 0
    ended = asyncio.Event()

    async def endless() -> AsyncGenerator[bytes, None]:
        nonlocal made
        try:
            while True:
                made += 1
                yield bytes(60_000)
        finally:
            ended.set()

    async with serving(lambda _, __: endless(), idle_s=0.5) as connect:
        _, writer = await connect()
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        writer.transport.pause_reading()  # type: ignore[attr-defined]  # a stream transport has it
        writer.write(framed(b"all"))
        await ended.wait()
    assert made < 500


async def test_the_wait_for_a_message_is_not_the_clients_fault() -> None:
    async def slow() -> AsyncGenerator[bytes, None]:
        yield b"first"
        await asyncio.sleep(1.2)
        yield b"last"

    async with serving(lambda _, __: slow(), idle_s=0.2) as connect:
        reader, writer = await connect()
        writer.write(framed(b"all"))
        assert await read_one(reader) == b"first"
        # Three more clients than there is room for: none of them takes the place of the one that waits for us.
        for _ in range(3):
            await connect()
        assert await read_one(reader) == b"last"


async def test_an_error_ends_the_connection_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def broken() -> AsyncGenerator[bytes, None]:
        yield b"first"
        raise RuntimeError("the journal is gone")

    async with serving(lambda _, __: broken()) as connect:
        reader, writer = await connect()
        writer.write(framed(b"all", b"next"))
        # A reset may overtake the message that was sent before it; the next query is not answered.
        received = b""
        with suppress(ConnectionResetError):
            received = await reader.read()
        assert received in (b"", framed(b"first"))
    assert [record.getMessage() for record in caplog.records] == ["dns.answer_broken"]


async def test_a_generator_that_never_waits_leaves_the_loop_to_others() -> None:
    async def endless() -> AsyncGenerator[bytes, None]:
        while True:
            yield b"x"

    async with serving(lambda query, _: endless() if query == b"all" else query) as connect:
        _, greedy = await connect()
        greedy.write(framed(b"all"))
        reader, writer = await connect()
        for _ in range(10):
            writer.write(framed(b"one"))
            assert await read_one(reader) == b"one"


async def test_a_client_that_goes_closes_the_generator() -> None:
    closed = asyncio.Event()

    async def endless() -> AsyncGenerator[bytes, None]:
        try:
            while True:
                yield b"x" * 1000
        finally:
            closed.set()

    async with serving(lambda _, __: endless()) as connect:
        reader, writer = await connect()
        writer.write(framed(b"all"))
        await read_one(reader)
        writer.close()
        await closed.wait()
