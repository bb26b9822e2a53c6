"""The zone of the conformance tests on real sockets, in a thread of its own, so that blocking tools can ask it.

Knows what stands in that zone. Does not know what is right to answer.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import ip_address

from otscert.domain.addresses import DEFAULT_POLICY
from otscert.zones.server import DnsServer
from otscert.zones.settings import ZoneSettings
from otscert.zones.transfer import Transfers
from otscert.zones.tsig import Keys, TsigKey
from otscert.zones.zone import Zone

ORIGIN = "boxes.example.com"
HOST = "127.0.0.1"
CAA = (
    "letsencrypt.org; accounturi=https://acme-v02.api.letsencrypt.org/acme/acct/1; validationmethods=dns-01",
    "pebble.example; accounturi=https://pebble.example/acct/7; validationmethods=dns-01",
)


def example_zone() -> Zone:
    """Write the zone: `both` has two families, `four` IPv4, `empty` none, `fresh` and `two` challenges, `web` HTTPS."""
    zone = Zone(
        ZoneSettings(
            origin=ORIGIN,
            name_servers=(f"ns1.{ORIGIN}", f"ns2.dns.{ORIGIN}", "ns.example.net"),
            server_addresses={
                f"ns1.{ORIGIN}": (ip_address("192.0.2.1"), ip_address("2001:db8::1")),
                f"ns2.dns.{ORIGIN}": (ip_address("192.0.2.2"),),
            },
            contact=f"hostmaster.{ORIGIN}",
            caa=CAA,
            public_suffix=("https://github.com/publicsuffix/list/pull/1",),
            first_serial=2_026_112_301,
        )
    )
    zone.activate("both", [ip_address("192.168.1.20"), ip_address("10.0.0.1"), ip_address("fd00::20")], DEFAULT_POLICY)
    zone.activate("four", [ip_address("192.168.1.21")], DEFAULT_POLICY)
    zone.activate("empty", [], DEFAULT_POLICY)
    zone.put_txt("fresh", "value-one")
    zone.activate("web", [ip_address("192.168.1.23")], replace(DEFAULT_POLICY, https_record=True))
    zone.activate("two", [ip_address("192.168.1.22")], DEFAULT_POLICY)
    zone.set_txt("two", ["value-of-the-name", "value-of-the-wildcard"])
    # More than 512 octets and fewer than 1232, and more than 1232.
    zone.set_txt("large", [f"{number:043}" for number in range(12)])
    zone.set_txt("huge", [f"{number:043}" for number in range(40)])
    return zone


class Served:
    """A zone that answers on `port`; `change` runs a function in the thread that owns the zone."""

    def __init__(self, zone: Zone, loop: asyncio.AbstractEventLoop, port: int) -> None:
        self.zone = zone
        self.port = port
        self.faults: list[str] = []
        self._loop = loop

    def change(self, work: Callable[[Zone], object]) -> None:
        done = threading.Event()

        def run() -> None:
            work(self.zone)
            done.set()

        self._loop.call_soon_threadsafe(run)
        assert done.wait(10), "the zone's thread does not answer"


@contextmanager
def serve(zone: Zone, *, idle_s: float = 10.0, key: TsigKey | None = None, ahead_s: int = 0) -> Iterator[Served]:
    """Serve a zone on a free port of loopback; an exception in one of the server's callbacks fails the test.

    With `key` signed queries are answered, by a clock that is `ahead_s` ahead.
    """
    ready = threading.Event()
    ended = threading.Event()
    holder: list[Served] = []

    async def live() -> None:
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        signed = None
        if key is not None:
            signed = Transfers(
                zone, Keys([key]), answer=zone.responder.answer, now_s=lambda: int(time.time()) + ahead_s
            )
        server = DnsServer(zone, idle_s=idle_s, signed=signed)
        await server.start(HOST, 0)
        served = Served(zone, loop, server.addresses[0][1])
        loop.set_exception_handler(lambda _, context: served.faults.append(str(context)))
        holder.append(served)
        stops.append(lambda: loop.call_soon_threadsafe(stop.set))
        ready.set()
        await stop.wait()
        await server.stop()
        ended.set()

    stops: list[Callable[[], object]] = []
    thread = threading.Thread(target=lambda: asyncio.run(live()), name="zone")
    thread.start()
    assert ready.wait(10), "the name server did not start"
    try:
        yield holder[0]
    finally:
        stops[0]()
        thread.join(10)
    assert ended.is_set()
    assert holder[0].faults == []
