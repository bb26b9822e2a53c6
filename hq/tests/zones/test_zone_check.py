"""The check before a CA is told: asks the name servers themselves, waits no longer than needed, says why not."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import cast

import dns.flags
import dns.message
import dns.rcode
import pytest

from otscert.zones.check import txt_values, wait_until_served
from otscert.zones.errors import CheckError
from otscert.zones.server import DnsServer
from otscert.zones.zone import Zone

NAME = "_acme-challenge.four.boxes.example.com"
Address = tuple[str, int]
Change = Callable[[dns.message.Message], bytes | None]


class OddNameServer(asyncio.DatagramProtocol):
    """Answers every query as its `change` says, or not at all."""

    def __init__(self, change: Change) -> None:
        self._change = change
        self.asked = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: Address) -> None:
        self.asked += 1
        answer = self._change(dns.message.make_response(dns.message.from_wire(data)))
        if answer is not None:
            self._transport.sendto(answer, addr)


Start = Callable[[Change], Awaitable[tuple[Address, OddNameServer]]]


@pytest.fixture
async def odd() -> AsyncIterator[Start]:
    transports = []

    async def start(change: Change) -> tuple[Address, OddNameServer]:
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.create_datagram_endpoint(
            lambda: OddNameServer(change), local_addr=("127.0.0.1", 0)
        )
        transports.append(transport)
        return transport.get_extra_info("sockname"), protocol

    yield start
    for transport in transports:
        transport.close()


async def test_the_values_are_those_of_the_zone(server: DnsServer, zone: Zone) -> None:
    zone.put_txt("four", "one")
    zone.put_txt("four", "two")
    assert await txt_values(server.addresses[0], NAME, 5) == {"one", "two"}


async def test_a_long_value_is_read_as_one(server: DnsServer, zone: Zone) -> None:
    zone.put_txt("four", "x" * 300)
    assert await txt_values(server.addresses[0], NAME, 5) == {"x" * 300}


async def test_values_too_many_for_udp_are_read_over_tcp(server: DnsServer, zone: Zone) -> None:
    values = {f"{number:043}" for number in range(80)}
    for value in values:
        zone.put_txt("four", value)
    assert await txt_values(server.addresses[0], NAME, 5) == values


async def test_a_name_without_txt_has_no_values(server: DnsServer) -> None:
    assert await txt_values(server.addresses[0], "four.boxes.example.com", 5) == set()
    assert await txt_values(server.addresses[0], "_acme-challenge.unknown.boxes.example.com", 5) == set()


async def test_a_server_that_does_not_have_the_zone_is_an_error(server: DnsServer) -> None:
    with pytest.raises(CheckError, match="answers REFUSED: it does not serve the zone"):
        await txt_values(server.addresses[0], "_acme-challenge.example.org", 5)


async def test_silence_is_an_error_after_the_time_given(odd: Start) -> None:
    address, _ = await odd(lambda _: None)
    loop = asyncio.get_running_loop()
    begin = loop.time()
    with pytest.raises(CheckError, match=r"did not answer within 0\.2 s"):
        await txt_values(address, NAME, 0.2)
    assert 0.15 < loop.time() - begin < 2


async def test_a_resolver_is_not_taken_for_a_name_server(odd: Start) -> None:
    address, _ = await odd(lambda response: response.to_wire())
    with pytest.raises(CheckError, match="not authoritative"):
        await txt_values(address, NAME, 5)


async def test_a_name_that_is_none_is_an_error(server: DnsServer) -> None:
    with pytest.raises(CheckError, match="cannot be asked"):
        await txt_values(server.addresses[0], "a..b", 5)


async def test_waiting_ends_as_soon_as_every_server_serves_every_value(server: DnsServer, zone: Zone) -> None:
    await server.start("127.0.0.1", 0)
    waiting = asyncio.create_task(wait_until_served(server.addresses, NAME, ["one", "two"], 30))
    zone.put_txt("four", "one")
    await asyncio.sleep(0.1)
    assert not waiting.done()
    zone.put_txt("four", "two")
    async with asyncio.timeout(3):
        result = await waiting
    assert result.served
    assert [check.server for check in result.servers] == list(server.addresses)
    assert result.servers[0].asked > 1
    assert "serves all 2 TXT values" in result.reason


async def test_values_beside_the_wanted_ones_do_not_matter(server: DnsServer, zone: Zone) -> None:
    zone.put_txt("four", "one")
    zone.put_txt("four", "of another order")
    assert (await wait_until_served(server.addresses, NAME, ["one"], 5)).served


async def test_at_the_deadline_each_server_has_its_reason(server: DnsServer, zone: Zone) -> None:
    zone.put_txt("four", "one")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        servers = [server.addresses[0], silent.getsockname()]
        result = await wait_until_served(servers, NAME, ["one", "two"], 0.5)
    assert not result.served
    partly, silence = result.servers
    assert "serves 1 of 2 TXT values" in partly.reason
    assert "did not answer" in silence.reason
    assert all(0.4 < check.elapsed_s < 3 for check in result.servers)


async def test_the_intervals_grow(odd: Start) -> None:
    def nothing_here(response: dns.message.Message) -> bytes:
        response.set_rcode(dns.rcode.NXDOMAIN)
        response.flags |= dns.flags.AA
        return response.to_wire()

    address, name_server = await odd(nothing_here)
    result = await wait_until_served([address], NAME, ["one"], 1.0)
    assert not result.served
    assert 5 <= name_server.asked <= 12


async def test_without_a_server_nothing_is_served() -> None:
    result = await wait_until_served([], NAME, ["one"], 1)
    assert not result.served
    assert result.reason == "there is no name server to ask"
