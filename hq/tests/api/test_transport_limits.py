"""Clients that are slow, silent or endless; each ends by itself, in time, and is told why where it can be."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from hq.tests.api.conftest import StartScene

from otscert_agent.wire.messages import PATH_HELLO
from tests.harness.box import tls_context
from tests.harness.scene import Scene, assert_says

HEAD = f"POST {PATH_HELLO} HTTP/1.1\r\nHost: hq\r\n".encode()
PATIENCE_S = 0.4
TOO_LATE_S = 8.0


@asynccontextmanager
async def connect(scene: Scene) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    host, port = scene.hq.url.removeprefix("https://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port), ssl=tls_context(scene.hq), server_hostname=host)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def until_closed(reader: asyncio.StreamReader) -> bytes:
    """What comes until HQ closes the connection; raises TimeoutError when it does not."""
    async with asyncio.timeout(TOO_LATE_S):
        try:
            return await reader.read()
        except ConnectionError:
            return b""


@pytest.fixture
async def impatient(start: StartScene) -> Scene:
    return await start(head_s=PATIENCE_S, body_s=PATIENCE_S)


async def test_a_body_that_is_too_large_is_refused_before_it_is_read(scene: Scene) -> None:
    async with connect(scene) as (reader, writer):
        writer.write(HEAD + b"Content-Length: 1000000000\r\n\r\n" + b"x" * 1000)
        head, _, body = (await until_closed(reader)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400")
    assert b"connection: close" in head.lower()
    assert "longer than 65536 bytes" in json.loads(body)["detail"]


async def test_a_chunked_body_that_is_too_large_is_refused(scene: Scene) -> None:
    reply = await scene.box().post(PATH_HELLO, b"{" + b" " * 70_000)
    assert_says(reply, 400, "longer than 65536 bytes")
    async with connect(scene) as (reader, writer):
        writer.write(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        writer.write((b"4000\r\n" + b"x" * 0x4000 + b"\r\n") * 5)
        assert b"longer than 65536 bytes" in await until_closed(reader)


async def test_a_body_without_end_is_ended(impatient: Scene) -> None:
    async def trickle(writer: asyncio.StreamWriter) -> None:
        while not writer.is_closing():
            writer.write(b"1\r\n \r\n")
            await asyncio.sleep(0.02)

    async with connect(impatient) as (reader, writer):
        writer.write(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        trickling = asyncio.create_task(trickle(writer))
        try:
            assert b"did not arrive in time" in await until_closed(reader)
        finally:
            trickling.cancel()


async def test_a_body_that_never_comes_is_not_waited_for(impatient: Scene) -> None:
    async with connect(impatient) as (reader, writer):
        writer.write(HEAD + b"Content-Length: 100\r\n\r\n{")
        assert b"did not arrive in time" in await until_closed(reader)


async def test_a_connection_that_never_sends_a_head_is_closed(impatient: Scene) -> None:
    async with connect(impatient) as (reader, _):
        assert await until_closed(reader) == b""


async def test_a_head_that_trickles_is_closed(impatient: Scene) -> None:
    async def trickle(writer: asyncio.StreamWriter) -> None:
        while not writer.is_closing():
            writer.write(b"X-Header: 1\r\n")
            await asyncio.sleep(0.02)

    async with connect(impatient) as (reader, writer):
        writer.write(HEAD)
        trickling = asyncio.create_task(trickle(writer))
        try:
            assert await until_closed(reader) == b""
        finally:
            trickling.cancel()


async def test_the_head_of_a_second_request_that_never_ends_is_closed(impatient: Scene) -> None:
    async with connect(impatient) as (reader, writer):
        writer.write(HEAD + b"Content-Length: 2\r\n\r\n{}")
        async with asyncio.timeout(TOO_LATE_S):
            assert (await reader.readline()).startswith(b"HTTP/1.1 400")
        writer.write(b"POST /device/v1/hello HT")
        await until_closed(reader)


async def test_a_head_without_end_is_not_collected(scene: Scene) -> None:
    async with connect(scene) as (reader, writer):
        writer.write(HEAD + b"X-Header: " + b"x" * 1_000_000)
        assert await until_closed(reader) == b""


async def test_a_silent_tls_client_is_closed(impatient: Scene) -> None:
    host, port = impatient.hq.url.removeprefix("https://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        await until_closed(reader)
    finally:
        writer.transport.abort()


async def test_what_is_not_http_is_refused(scene: Scene) -> None:
    async with connect(scene) as (reader, writer):
        writer.write(b"\x16\x03\x01 hello\r\n\r\n")
        assert (await until_closed(reader)).startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize("path", ["/", "/device/v1/", "/device/v2/hello", "/device/v1/orders/", "/device/v1/hello/"])
async def test_another_path_is_not_found(scene: Scene, path: str) -> None:
    async with scene.session.post(scene.hq.url + path, data=b"{}", allow_redirects=False) as response:
        assert response.status == 404, await response.text()
        assert "docs/protocol.md" in (await response.json(content_type=None))["detail"]


async def test_get_is_answered_with_where_to_look(scene: Scene) -> None:
    async with scene.session.get(scene.hq.url + PATH_HELLO) as response:
        assert "docs/protocol.md" in (await response.json(content_type=None))["detail"]


async def test_a_client_that_leaves_in_the_middle_costs_nothing(scene: Scene) -> None:
    before = await scene.rows()
    for _ in range(20):
        async with connect(scene) as (_, writer):
            writer.write(HEAD + b"Content-Length: 100\r\n\r\n{")
            await writer.drain()
    assert await scene.rows() == before


async def test_slow_clients_do_not_slow_others(scene: Scene) -> None:
    held = [connect(scene) for _ in range(50)]
    opened = [await each.__aenter__() for each in held]
    try:
        for _, writer in opened:
            writer.write(HEAD + b"Content-Length: 100\r\n\r\n{")
        async with asyncio.timeout(TOO_LATE_S):
            (await scene.box().admit()).granted()
    finally:
        for each in held:
            await each.__aexit__(None, None, None)


async def test_an_odd_order_path_is_not_found_or_refused(scene: Scene) -> None:
    for path in (
        "/device/v1/orders/%FF",
        "/device/v1/orders/%00",
        "/device/v1/orders/..%2f..",
        "/device/v1/orders/%ED%A0%80",
    ):
        async with scene.session.post(scene.hq.url + path, data=b"{}") as response:
            assert response.status in {400, 404}
