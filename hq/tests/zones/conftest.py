"""A zone with one box of each kind, and ways to ask it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from ipaddress import ip_address
from typing import Any

import dns.message
import pytest

from otscert.domain.addresses import DEFAULT_POLICY
from otscert.zones.server import DnsServer
from otscert.zones.settings import ZoneSettings
from otscert.zones.zone import Zone

Ask = Callable[..., dns.message.Message]


@pytest.fixture
def settings() -> ZoneSettings:
    return ZoneSettings(
        origin="boxes.example.com",
        name_servers=("ns1.boxes.example.com", "ns2.dns.boxes.example.com", "ns.example.net"),
        server_addresses={
            "ns1.boxes.example.com": (ip_address("192.0.2.1"), ip_address("2001:db8::1")),
            "NS2.dns.boxes.example.com.": (ip_address("192.0.2.2"),),
        },
        contact="hostmaster.example.com",
        caa=("pebble.example; accounturi=https://pebble.example/acct/1; validationmethods=dns-01",),
        public_suffix=("https://github.com/publicsuffix/list/pull/1",),
        first_serial=7,
    )


@pytest.fixture
def zone(settings: ZoneSettings) -> Zone:
    """`both` has two families, `four` IPv4 only, `empty` no address, `fresh` only a challenge."""
    zone = Zone(settings)
    zone.activate("both", [ip_address("192.168.1.20"), ip_address("10.0.0.1"), ip_address("fd00::20")], DEFAULT_POLICY)
    zone.activate("four", [ip_address("192.168.1.21")], DEFAULT_POLICY)
    zone.activate("empty", [], DEFAULT_POLICY)
    zone.put_txt("fresh", "value-one")
    return zone


@pytest.fixture
def ask(zone: Zone) -> Ask:
    """Ask the zone directly, twice: what is remembered must be what was built."""

    def ask_zone(
        name: str, rtype: str = "A", *, size_limit: int | None = 1232, **options: object
    ) -> dns.message.Message:
        query = dns.message.make_query(name, rtype, **options)  # type: ignore[arg-type]  # the caller's own keywords
        octets = query.to_wire()
        first = zone.answer(octets, size_limit=size_limit)
        assert first is not None
        assert zone.answer(octets, size_limit=size_limit) == first
        response = dns.message.from_wire(first)
        assert query.is_response(response)
        return response

    return ask_zone


@pytest.fixture
async def server(zone: Zone) -> AsyncIterator[DnsServer]:
    """A server on a free port; an exception in one of its callbacks fails the test."""
    failures: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))
    server = DnsServer(zone)
    await server.start("127.0.0.1", 0)
    yield server
    await server.stop()
    assert failures == []
