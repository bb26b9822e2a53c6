"""The metrics listener: what it refuses, how it is bounded, and that counting the store is nobody else's burden."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from hq.tests.store.rows import device

from otscert.api.metrics.overview import Overviews
from otscert.api.metrics.page import MakePage, Page, metrics_app
from otscert.api.metrics.scrape import Scraping
from otscert.api.room import Room
from otscert.api.server import HttpServer
from otscert.counting import Counts
from otscert.pki.files import PkiFolder
from otscert.store.sqlite import SqliteStore
from otscert.store.transaction import Transaction
from otscert.zones.counters import AnswerCounters
from tests.harness.hq import TestClock

PATIENCE_S = 0.4
TOO_LATE_S = 8.0
Listen = Callable[..., Awaitable[int]]


@pytest.fixture
async def listen() -> AsyncIterator[Listen]:
    async with AsyncExitStack() as stack:

        async def start(make: MakePage, most: int = 4) -> int:
            server = HttpServer(metrics_app(make), host="127.0.0.1", port=0, room=Room(most=most), head_s=PATIENCE_S)
            stack.push_async_callback(server.stop)
            return await server.start()

        yield start


async def a_page(_accept: str) -> Page:
    return b"up 1\n", "text/plain"


async def send(port: int, request: bytes) -> bytes:
    """What comes until the listener closes the connection; raises TimeoutError when it does not."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        async with asyncio.timeout(TOO_LATE_S):
            try:
                return await reader.read()
            except ConnectionError:
                return b""
    finally:
        writer.transport.abort()


GOOD = b"GET /metrics HTTP/1.1\r\nHost: hq\r\n\r\n"


async def test_the_page_is_given_and_the_connection_is_closed(listen: Listen) -> None:
    answer = await send(await listen(a_page), GOOD)
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.endswith(b"\r\n\r\nup 1\n")


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"POST /metrics HTTP/1.1\r\nHost: hq\r\nContent-Length: 3\r\n\r\nabc", b"405"),
        (b"POST /metrics HTTP/1.1\r\nHost: hq\r\nContent-Length: 1000000000\r\n\r\nabc", b"405"),
        (b"DELETE /metrics HTTP/1.1\r\nHost: hq\r\n\r\n", b"405"),
        (b"HEAD /metrics HTTP/1.1\r\nHost: hq\r\n\r\n", b"405"),
        (b"GET / HTTP/1.1\r\nHost: hq\r\n\r\n", b"404"),
        (b"GET /metrics/.. HTTP/1.1\r\nHost: hq\r\n\r\n", b"404"),
        (b"POST /v1/hello HTTP/1.1\r\nHost: hq\r\nContent-Length: 0\r\n\r\n", b"404"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"400"),
    ],
)
async def test_anything_else_is_refused_and_the_page_is_not_made(
    listen: Listen, request_: bytes, status: bytes
) -> None:
    async def never(_accept: str) -> Page:
        raise AssertionError

    answer = await send(await listen(never), request_)
    assert answer.startswith(b"HTTP/1.1 " + status)


async def test_a_head_that_drips_is_ended(listen: Listen) -> None:
    port = await listen(a_page)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    async def drip() -> None:
        while not writer.is_closing():
            writer.write(b"X")
            await asyncio.sleep(0.02)

    writer.write(b"GET /metrics HTTP/1.1\r\n")
    dripping = asyncio.create_task(drip())
    try:
        async with asyncio.timeout(TOO_LATE_S):
            assert await reader.read() == b""
    except ConnectionError:
        pass
    finally:
        dripping.cancel()
        writer.transport.abort()


async def test_silent_clients_make_room_for_those_who_ask(listen: Listen) -> None:
    port = await listen(a_page, most=3)
    silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(20)]
    try:
        assert (await send(port, GOOD)).startswith(b"HTTP/1.1 200")
    finally:
        for _, writer in silent:
            writer.transport.abort()


# ---- counting the store


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore.open(tmp_path / "hq.db")
    await store.write(lambda transaction: transaction.devices.add(device()))
    yield store
    await store.close()


class NoZone:
    counters = AnswerCounters()
    serial = 1


class NoServer:
    open_connections = 0
    unsent = 0


def scraping(folder: Path, store: SqliteStore) -> Scraping:
    return Scraping(
        clock=TestClock(),
        issuers=["ca"],
        counts=Counts(),
        zone=NoZone(),
        name_server=NoServer(),
        secondaries=tuple,
        room=Room(),
        pki=PkiFolder(folder=folder / "pki"),
        database=folder / "hq.db",
        overviews=Overviews(store=store, checkin_s=1, events_after=0),
    )


async def test_the_store_is_counted_in_a_thread_on_a_connection_that_cannot_write(store: SqliteStore) -> None:
    def look(transaction: Transaction) -> tuple[int, bool]:
        return threading.get_ident(), bool(transaction._connection.execute("SELECT count(*) FROM device").fetchone()[0])

    thread, seen = await store.survey(look)
    assert seen
    assert thread != threading.get_ident()
    with pytest.raises(Exception, match="readonly database"):
        await store.survey(lambda transaction: transaction.devices.leave_dns("d1"))


async def test_boxes_are_served_while_the_store_is_counted(store: SqliteStore) -> None:
    """Structure, not speed: the count stands still in its thread, and both reading and writing go on."""
    counting, go_on = threading.Event(), threading.Event()

    def stand_still(transaction: Transaction) -> int:
        count = len(transaction.statistics.devices())
        counting.set()
        assert go_on.wait(TOO_LATE_S)
        return count

    survey_ = asyncio.create_task(store.survey(stand_still))
    try:
        async with asyncio.timeout(TOO_LATE_S):
            assert await asyncio.to_thread(counting.wait, TOO_LATE_S)
            await store.write(lambda transaction: transaction.devices.add(device(2)))
            assert await store.read(lambda transaction: transaction.devices.get("d2")) is not None
            assert not survey_.done()
    finally:
        go_on.set()
    assert await survey_ == 1


async def test_many_scrapes_at_once_count_the_store_once(store: SqliteStore, tmp_path: Path) -> None:
    scrape = scraping(tmp_path, store)
    pages = await asyncio.gather(*(scrape("") for _ in range(25)))
    assert all(b'otscert_devices{contribution="open",model="box"' in body for body, _ in pages)
    overviews = Overviews(store=store, checkin_s=1, events_after=0)
    seen = await asyncio.gather(*(overviews.newest(now_s=second) for second in range(25)))
    assert {each.at_s for each in seen} == {0}


async def test_an_overview_is_kept_for_longer_when_it_was_dear(store: SqliteStore) -> None:
    overviews = Overviews(store=store, checkin_s=1, events_after=0, least_age_s=0)
    first = await overviews.newest(now_s=1)
    overviews._newest = dear = replace(first, took_s=1000.0)
    assert await overviews.newest(now_s=2) is dear
    overviews._newest = replace(first, took_s=0.0)
    assert (await overviews.newest(now_s=3)).at_s == 3


async def test_what_the_process_counted_is_told_while_the_store_cannot_be_read(
    store: SqliteStore, tmp_path: Path
) -> None:
    (tmp_path / "hq.db").unlink()
    scrape = scraping(tmp_path, store)
    scrape.counts.messages.count("hello", "ok")
    body, _ = await scrape("")
    assert b"otscert_store_up 0.0" in body
    assert b'otscert_messages_total{message="hello",outcome="ok"} 1.0' in body
    assert b"otscert_devices{" not in body


async def test_events_are_counted_from_the_start_of_hq_on(store: SqliteStore) -> None:
    def happen(kind: str) -> Callable[[Transaction], None]:
        return lambda transaction: transaction.events.append(kind, now_s=1)

    await store.write(happen("before"))
    after = await store.read(lambda transaction: transaction.statistics.last_event())
    overviews = Overviews(store=store, checkin_s=1, events_after=after, least_age_s=0)
    for count in (1, 2):
        await store.write(happen("clone.seen"))
        overviews._newest = None  # too old
        await overviews.newest(now_s=1)
        assert overviews.events() == {"clone.seen": count}
