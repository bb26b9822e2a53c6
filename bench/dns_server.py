"""HQ's name server alone, on a zone of many boxes: `python -m bench.dns_server BOXES CHALLENGES_PER_S PORT`.

The same zone and server that `otscert serve` runs, on the same event loop; no device API, no store, no worker. Port 0
takes a free one; any other is shared with the processes that are told the same.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from ipaddress import IPv4Address

import uvloop

from bench.dns_zone import CAA_VALUE, CHALLENGE, NETWORK4, NETWORK6, ORIGIN, boxes
from otscert.domain.addresses import AddressPolicy
from otscert.zones.server import DnsServer
from otscert.zones.settings import ZoneSettings
from otscert.zones.zone import Zone

WRITTEN = "y" * 43
UNREACHED_PER_S = 100_000_000
STAY_S = 2.0
"""How long a challenge that is written stays."""


async def serve(count: int, *, challenges_per_s: int, port: int) -> None:
    settings = ZoneSettings(
        origin=ORIGIN,
        name_servers=(f"ns1.{ORIGIN}",),
        contact=f"hostmaster.{ORIGIN}",
        server_addresses={f"ns1.{ORIGIN}": (IPv4Address("127.0.0.1"),)},
        caa=(CAA_VALUE,),
    )
    zone = Zone(settings)
    policy = AddressPolicy(networks=(NETWORK4, NETWORK6))
    zone.load(
        ((box.label, (box.address4, box.address6), policy) for box in boxes(count)),
        ((box.label, CHALLENGE) for box in boxes(count)),
    )
    # The limiter keeps its books; the limit is one that loopback does not reach.
    server = DnsServer(zone, rate_limit_per_s=UNREACHED_PER_S, share_port=bool(port))
    await server.start("127.0.0.1", port)
    writer = asyncio.create_task(_write_challenges(zone, count, challenges_per_s))
    print(json.dumps({"kind": "ready", "port": server.addresses[0][1]}), flush=True)
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    await told.wait()
    writer.cancel()
    await asyncio.gather(writer, return_exceptions=True)
    await server.stop()


async def _write_challenges(zone: Zone, count: int, per_s: int) -> None:
    loop = asyncio.get_running_loop()
    while per_s:
        for box in boxes(count):
            zone.put_txt(box.label, WRITTEN)
            loop.call_later(STAY_S, zone.drop_txt, box.label, WRITTEN)
            await asyncio.sleep(1 / per_s)


def main() -> None:
    count, challenges_per_s, port = map(int, sys.argv[1:])
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(count, challenges_per_s=challenges_per_s, port=port))


if __name__ == "__main__":
    main()
