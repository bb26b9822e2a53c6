"""The server on real sockets: UDP, TCP with its slow and greedy clients, ports that are taken."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable

import dns.asyncquery
import dns.flags
import dns.message
import dns.rcode
import pytest
import uvloop

from otscert.zones.errors import ListenError
from otscert.zones.server import DnsServer
from otscert.zones.tcp import TcpConnections
from otscert.zones.zone import Zone

NAME = "four.boxes.example.com"
Connect = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


def framed(name: str = NAME, rtype: str = "A", *, message_id: int = 1) -> bytes:
    query = dns.message.make_query(name, rtype, id=message_id).to_wire()
    return len(query).to_bytes(2) + query


async def read_answer(reader: asyncio.StreamReader) -> dns.message.Message:
    async with asyncio.timeout(5):
        length = int.from_bytes(await reader.readexactly(2))
        return dns.message.from_wire(await reader.readexactly(length))


async def until(fact: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not fact():  # noqa: ASYNC110 - the server has no event for what tests look at
            await asyncio.sleep(0.005)


async def is_closed(reader: asyncio.StreamReader) -> bool:
    """Whether the other side closes within 5 s; a reset closes as well as an end."""
    async with asyncio.timeout(5):
        try:
            return await reader.read() == b""
        except ConnectionResetError:
            return True


@pytest.fixture
async def impatient(zone: Zone) -> AsyncIterator[DnsServer]:
    """Waits 0.5 s for a query, and has room for four TCP clients."""
    server = DnsServer(zone, idle_s=0.5, most_connections=4)
    await server.start("127.0.0.1", 0)
    yield server
    await server.stop()


@pytest.fixture
async def connect(server: DnsServer) -> AsyncIterator[Connect]:
    writers = []

    async def open_one() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection(*server.addresses[0])
        writers.append(writer)
        return reader, writer

    yield open_one
    for writer in writers:
        writer.close()


async def test_udp_and_tcp_answer_alike_on_one_port(server: DnsServer) -> None:
    host, port = server.addresses[0]
    query = dns.message.make_query(NAME, "A")
    udp = await dns.asyncquery.udp(query, host, port=port, timeout=5)
    tcp = await dns.asyncquery.tcp(query, host, port=port, timeout=5)
    assert udp == tcp
    assert [str(rdata) for rdata in udp.answer[0]] == ["192.168.1.21"]


async def test_a_truncated_answer_is_fetched_over_tcp(server: DnsServer, zone: Zone) -> None:
    for number in range(60):
        zone.put_txt("four", f"{number:043}")
    host, port = server.addresses[0]
    query = dns.message.make_query("_acme-challenge." + NAME, "TXT")
    response, used_tcp = await dns.asyncquery.udp_with_fallback(query, host, port=port, timeout=5)
    assert used_tcp
    assert len(response.answer[0]) == 60


async def test_a_change_is_served_at_once(server: DnsServer, zone: Zone) -> None:
    host, port = server.addresses[0]
    query = dns.message.make_query("_acme-challenge." + NAME, "TXT")
    for number in range(20):
        zone.put_txt("four", f"value-{number}")
        response = await dns.asyncquery.udp(query, host, port=port, timeout=5)
        assert len(response.answer[0]) == number + 1


async def test_a_burst_of_datagrams_is_answered_one_by_one(server: DnsServer) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(0)
        client.connect(server.addresses[0])
        for message_id in range(200):
            client.send(framed(message_id=message_id)[2:])
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(5):
            answers = [await loop.sock_recv(client, 4096) for _ in range(200)]
    assert [int.from_bytes(answer[:2]) for answer in answers] == list(range(200))


async def test_nonsense_and_empty_datagrams_do_not_stop_the_server(server: DnsServer) -> None:
    host, port = server.addresses[0]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        for nonsense in (b"", b"\0", b"\xff" * 11, b"\xff" * 512, b"\0" * 9000):
            client.sendto(nonsense, (host, port))
    response = await dns.asyncquery.udp(dns.message.make_query(NAME, "A"), host, port=port, timeout=5)
    assert response.rcode() == dns.rcode.NOERROR


async def test_ipv6_is_served_beside_ipv4(server: DnsServer) -> None:
    await server.start("::1", 0)
    host, port = server.addresses[1]
    response = await dns.asyncquery.udp(dns.message.make_query(NAME, "A"), host, port=port, timeout=5)
    assert response.rcode() == dns.rcode.NOERROR


@pytest.mark.parametrize(("wildcard", "asked"), [("0.0.0.0", "127.0.0.1"), ("0.0.0.0", "127.0.0.53"), ("::", "::1")])
async def test_on_a_wildcard_address_the_answer_leaves_from_the_address_that_was_asked(
    server: DnsServer, wildcard: str, asked: str
) -> None:
    await server.start(wildcard, 0)
    _, port = server.addresses[-1]
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET6 if ":" in asked else socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(0)
        # A connected socket takes nothing from another address, like every resolver.
        client.connect((asked, port))
        for message_id in range(3):
            client.send(framed(message_id=message_id)[2:])
            async with asyncio.timeout(5):
                assert int.from_bytes((await loop.sock_recv(client, 4096))[:2]) == message_id


async def test_queries_in_one_connection_are_answered_in_order(connect: Connect) -> None:
    reader, writer = await connect()
    writer.write(b"".join(framed(message_id=number) for number in range(500)))
    assert [(await read_answer(reader)).id for _ in range(500)] == list(range(500))
    writer.write(framed(message_id=7))
    assert (await read_answer(reader)).id == 7


async def test_a_query_may_come_octet_by_octet(connect: Connect) -> None:
    reader, writer = await connect()
    for octet in framed(message_id=9):
        writer.write(bytes([octet]))
        await writer.drain()
    assert (await read_answer(reader)).id == 9


async def test_a_client_that_ends_its_side_still_gets_its_answers(connect: Connect) -> None:
    reader, writer = await connect()
    writer.write(b"".join(framed(message_id=number) for number in range(300)))
    writer.write_eof()
    assert [(await read_answer(reader)).id for _ in range(300)] == list(range(300))
    assert await reader.read() == b""


@pytest.mark.parametrize("message", [b"", b"\0\1\2", b"\0\1\x80\0" + b"\0" * 8])
async def test_what_is_no_query_closes_the_connection_after_earlier_answers(connect: Connect, message: bytes) -> None:
    reader, writer = await connect()
    writer.write(framed(message_id=3) + len(message).to_bytes(2) + message + framed())
    assert (await read_answer(reader)).id == 3
    assert await is_closed(reader)


async def test_a_malformed_query_is_answered_and_the_connection_goes_on(connect: Connect) -> None:
    reader, writer = await connect()
    writer.write(b"\0\x0c" + struct.pack("!6H", 5, 0, 0, 0, 0, 0) + framed(message_id=6))
    assert (await read_answer(reader)).rcode() == dns.rcode.FORMERR
    assert (await read_answer(reader)).id == 6


async def test_an_idle_client_is_closed(impatient: DnsServer) -> None:
    reader, writer = await asyncio.open_connection(*impatient.addresses[0])
    writer.write(framed())
    await read_answer(reader)
    assert await is_closed(reader)
    assert impatient.open_connections == 0
    writer.close()


async def test_a_client_that_keeps_asking_is_not_closed(impatient: DnsServer) -> None:
    reader, writer = await asyncio.open_connection(*impatient.addresses[0])
    loop = asyncio.get_running_loop()
    begin = loop.time()
    while loop.time() < begin + 1.2:
        writer.write(framed())
        await read_answer(reader)
        await asyncio.sleep(0.02)
    writer.close()


async def test_single_octets_do_not_keep_a_connection_alive(impatient: DnsServer) -> None:
    _, writer = await asyncio.open_connection(*impatient.addresses[0])
    await until(lambda: impatient.open_connections == 1)

    async def drip() -> None:
        writer.write(b"\xff\xff")
        while True:
            writer.write(b"x")
            await asyncio.sleep(0.03)

    dripping = asyncio.create_task(drip())
    await until(lambda: impatient.open_connections == 0)
    dripping.cancel()
    writer.close()


async def test_slow_clients_make_place_for_new_ones(impatient: DnsServer) -> None:
    slow = [await asyncio.open_connection(*impatient.addresses[0]) for _ in range(12)]
    for _, writer in slow:
        writer.write(b"\0")
    reader, writer = await asyncio.open_connection(*impatient.addresses[0])
    writer.write(framed(message_id=11))
    assert (await read_answer(reader)).id == 11
    assert impatient.open_connections <= 4
    for _, other in [*slow, (reader, writer)]:
        other.close()


async def test_the_client_that_waits_longest_leaves_and_not_the_one_that_asks(impatient: DnsServer) -> None:
    address = impatient.addresses[0]
    clients = [await asyncio.open_connection(*address) for _ in range(4)]
    await until(lambda: impatient.open_connections == 4)
    first_reader, first_writer = clients[0]
    first_writer.write(framed(message_id=1))
    await read_answer(first_reader)
    clients.append(await asyncio.open_connection(*address))
    assert await is_closed(clients[1][0])
    first_writer.write(framed(message_id=2))
    assert (await read_answer(first_reader)).id == 2
    for _, writer in clients:
        writer.close()


async def test_one_client_has_at_most_64_messages_answered_before_the_others_get_their_turn() -> None:
    loop = asyncio.get_running_loop()
    turns = [0]
    ticking: asyncio.Handle

    def tick() -> None:
        nonlocal ticking
        turns.append(0)
        ticking = loop.call_soon(tick)

    def answer(query: bytes, _: str) -> bytes:
        turns[-1] += 1
        return query

    connections = TcpConnections(answer, most=10, idle_s=5)
    server = await loop.create_server(connections.connection, "127.0.0.1", 0)
    ticking = loop.call_soon(tick)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    writer.write(framed() * 1000)
    async with asyncio.timeout(5):
        await reader.readexactly(len(framed()) * 1000)
    ticking.cancel()
    writer.close()
    connections.close()
    server.close()
    assert sum(turns) == 1000
    assert max(turns) <= 64


async def test_a_hundred_slow_clients_do_not_stop_the_others(server: DnsServer, connect: Connect) -> None:
    slow = [await connect() for _ in range(100)]
    for _, writer in slow:
        writer.write(framed()[:5])
    host, port = server.addresses[0]
    loop = asyncio.get_running_loop()
    begin = loop.time()
    for _ in range(50):
        for _, writer in slow[:10]:
            writer.write(b"\0")
        await dns.asyncquery.tcp(dns.message.make_query(NAME, "A"), host, port=port, timeout=5)
    assert loop.time() - begin < 5


async def test_a_client_that_does_not_read_is_not_read_either_and_is_closed(impatient: DnsServer, zone: Zone) -> None:
    for number in range(100):
        zone.put_txt("four", f"{number:043}")
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(0)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(client, impatient.addresses[0])
        await until(lambda: impatient.open_connections == 1)
        queries = framed("_acme-challenge." + NAME, "TXT") * 100_000
        sending = asyncio.create_task(loop.sock_sendall(client, queries))
        await until(lambda: impatient.open_connections == 0)
        await asyncio.wait([sending], timeout=5)
        assert isinstance(sending.exception(), ConnectionError)
    answered = sum(zone.counters.snapshot().values())
    assert answered < 20_000, "a client that does not read must not be answered without end"


async def test_a_client_that_pauses_and_then_reads_gets_every_answer(
    server: DnsServer, connect: Connect, zone: Zone
) -> None:
    for number in range(100):
        zone.put_txt("four", f"{number:043}")
    reader, writer = await connect()
    query = framed("_acme-challenge." + NAME, "TXT")
    writer.write(query * 4000)
    # 24 MB of answers are more than the kernel's buffers and ours take: the server has stopped reading by now.
    await until(lambda: sum(zone.counters.snapshot().values()) > 100)
    await asyncio.sleep(0.2)
    assert sum(zone.counters.snapshot().values()) < 4000
    async with asyncio.timeout(8):
        for _ in range(4000):
            await reader.readexactly(int.from_bytes(await reader.readexactly(2)))
    assert server.open_connections == 1


async def test_stop_gives_the_ports_back_and_drops_the_clients(zone: Zone) -> None:
    server = DnsServer(zone)
    await server.start("127.0.0.1", 0)
    host, port = server.addresses[0]
    _, writer = await asyncio.open_connection(host, port)
    await until(lambda: server.open_connections == 1)
    await server.stop()
    assert server.open_connections == 0
    await server.stop()
    again = DnsServer(zone)
    await again.start(host, port)
    await again.stop()
    writer.close()


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
async def test_a_port_in_use_is_named_with_what_to_do(zone: Zone, kind: socket.SocketKind) -> None:
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            taken.listen()
        port = taken.getsockname()[1]
        server = DnsServer(zone)
        with pytest.raises(ListenError, match=rf"127\.0\.0\.1 port {port}: .*\(another name server has it"):
            await server.start("127.0.0.1", port)
        assert server.addresses == ()


@pytest.mark.parametrize("host", ["localhost", "", "192.0.2.1"])
async def test_an_address_that_is_not_ours_is_an_error(zone: Zone, host: str) -> None:
    with pytest.raises(ListenError, match="cannot listen on"):
        await DnsServer(zone).start(host, 0)


def test_uvloop_serves_udp_and_tcp_too(zone: Zone) -> None:
    async def serve_and_ask() -> None:
        server = DnsServer(zone)
        await server.start("127.0.0.1", 0)
        host, port = server.addresses[0]
        query = dns.message.make_query(NAME, "A")
        udp = await dns.asyncquery.udp(query, host, port=port, timeout=5)
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(b"".join(framed(message_id=number) for number in range(200)))
        writer.write_eof()
        assert [(await read_answer(reader)).id for _ in range(200)] == list(range(200))
        assert udp.rcode() == dns.rcode.NOERROR
        writer.close()
        await server.stop()

    uvloop.run(serve_and_ask())


async def test_a_thousand_clients_that_send_an_octet_a_second_do_not_stop_the_others(zone: Zone) -> None:
    # Room for all of them: each connection stays open, and each has its own second at which it sends.
    server = DnsServer(zone, most_connections=1100)
    await server.start("127.0.0.1", 0)
    host, port = server.addresses[0]
    loop = asyncio.get_running_loop()
    slow: list[socket.socket] = []
    for number in range(1000):
        slow.append(socket.create_connection((host, port), timeout=5))
        slow[-1].settimeout(0)
        if number % 50 == 49:
            await asyncio.sleep(0)
    begin = loop.time()
    query, sent, took = framed(), 0, []
    # Each client sends an octet a second, number n at the n-th thousandth of it.
    while sent < 2500:
        due = min(2500, (loop.time() - begin) * 1000)
        while sent < due:
            at = sent // 1000
            slow[sent % 1000].send(query[at : at + 1])
            sent += 1
        asked = loop.time()
        answer = await dns.asyncquery.tcp(dns.message.make_query(NAME, "A"), host, port=port, timeout=5)
        took.append(loop.time() - asked)
        assert len(answer.answer) == 1
    assert server.open_connections >= 1000, "the slow ones are clients too"
    assert max(took) < 1
    assert sorted(took)[len(took) // 2] < 0.1
    # And each of them gets its answer in the end.
    slow[0].settimeout(5)
    slow[0].sendall(query[3:])
    assert (await loop.run_in_executor(None, slow[0].recv, 65_535))[2:4] == query[2:4]
    for client in slow:
        client.close()
    await server.stop()


async def test_a_thousand_slow_clients_with_room_for_half_do_not_stop_the_others(server: DnsServer) -> None:
    host, port = server.addresses[0]
    slow: list[socket.socket] = []
    for number in range(1000):
        slow.append(socket.create_connection((host, port), timeout=5))
        slow[-1].settimeout(0)
        if number % 50 == 49:
            await asyncio.sleep(0)
    for client in slow:
        # Those that made room for others are closed by now; they go on sending.
        with contextlib.suppress(OSError):
            client.send(b"\0")
    answer = await dns.asyncquery.tcp(dns.message.make_query(NAME, "A"), host, port=port, timeout=5)
    assert len(answer.answer) == 1
    for client in slow:
        client.close()
    assert server.open_connections <= 500
