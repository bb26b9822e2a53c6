"""Connections are bounded, and whoever waits longest makes room: nobody is shut out by silence or by pipelining."""

from __future__ import annotations

import asyncio
import contextlib

from hq.tests.api.conftest import StartScene

from otscert.api.room import Guest, Room
from otscert_agent.wire.messages import PATH_HELLO
from tests.harness.box import tls_context
from tests.harness.scene import Scene


def guest(left: list[str], name: str, address: str = "a") -> Guest:
    return Guest(address, lambda: left.append(name))


def test_the_longest_waiting_makes_room() -> None:
    left: list[str] = []
    room = Room(most=2)
    first, second, third = (guest(left, name, name) for name in ("first", "second", "third"))
    assert room.enter(first)
    assert room.enter(second)
    assert room.enter(third)
    assert left == ["first"]
    assert len(room) == 2


def test_who_is_being_answered_keeps_his_place() -> None:
    left: list[str] = []
    room = Room(most=2)
    held, waiting = guest(left, "held", "x"), guest(left, "waiting", "y")
    assert room.enter(held)
    assert room.enter(waiting)
    room.asks(held)
    assert room.enter(guest(left, "new", "z"))
    assert left == ["waiting"]
    room.waits(held)  # answered: now the longest waiting is the one that came before it
    assert room.enter(guest(left, "another", "w"))
    assert left == ["waiting", "new"]


def test_when_all_are_being_answered_a_newcomer_is_refused() -> None:
    room = Room(most=1)
    held = guest([], "held")
    assert room.enter(held)
    room.asks(held)
    assert not room.enter(guest([], "new", "b"))
    room.left(held)
    assert room.enter(guest([], "new", "b"))


def test_one_address_makes_room_among_its_own() -> None:
    left: list[str] = []
    room = Room(most=10, most_of_one_address=2)
    assert room.enter(guest(left, "other", "b"))
    for name in ("one", "two", "three"):
        assert room.enter(guest(left, name, "a"))
    assert left == ["one"]


def test_a_proxy_is_not_counted_as_one_address() -> None:
    left: list[str] = []
    room = Room(most=10, most_of_one_address=1)
    for _ in range(3):
        assert room.enter(guest(left, "proxied", ""))


async def test_silent_connections_do_not_shut_a_box_out(start: StartScene) -> None:
    scene = await start(room=Room(most=20, most_of_one_address=20))
    host, port = scene.hq.url.removeprefix("https://").split(":")
    silent = [await asyncio.open_connection(host, int(port)) for _ in range(60)]
    assert (await scene.box().hello()).typ == "otscert-v1-challenge"
    ended = [reader for reader, _ in silent if reader.at_eof()]
    assert len(ended) >= 40
    for _, writer in silent:
        writer.close()


async def test_pipelined_requests_end_the_connection_and_cost_no_memory(scene: Scene) -> None:
    host, port = scene.hq.url.removeprefix("https://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port), ssl=tls_context(scene.hq), server_hostname=host)
    with contextlib.suppress(ConnectionError):
        writer.write(f"GET {PATH_HELLO} HTTP/1.1\r\nHost: hq\r\n\r\n".encode() * 1000)
        await writer.drain()
        answers = (await reader.read()).count(b"HTTP/1.1 ")
        assert answers <= 2
    writer.transport.abort()


async def test_a_newer_poll_of_a_box_ends_its_older_one(scene: Scene) -> None:
    box = scene.box()
    await box.admit()
    seq = box.seqs[box.identity.public.thumbprint()] + 1
    older = asyncio.create_task(box.poll())
    async with asyncio.timeout(5):
        while await scene.hq.rows("SELECT 1 FROM device_key WHERE device_id IS NOT NULL AND last_seq = ?", seq) == []:  # noqa: ASYNC110 - looked at from outside: nothing signals it
            await asyncio.sleep(0.01)  # its seq is on disk: HQ has the older one
    assert not older.done()
    newer = asyncio.create_task(box.poll())
    async with asyncio.timeout(5):
        assert (await older).message["status"] == "waiting"
    assert not newer.done()
    newer.cancel()
