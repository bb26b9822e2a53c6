"""HQ's name server alone, on a zone of many boxes, with challenges coming and going: `python -m bench.dns_server N`.

The same zone and server that `otscert serve` runs, on the same event loop; no device API, no store, no worker.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network

import uvloop

from otscert.domain.addresses import AddressPolicy
from otscert.zones.server import DnsServer
from otscert.zones.settings import ZoneSettings
from otscert.zones.zone import Zone

ORIGIN = "boxes.bench.example"
CHALLENGES_PER_S = 100
_NETWORK = IPv4Network("10.0.0.0/8")


def label(number: int) -> str:
    return f"b{number:015d}"


def address(number: int) -> IPv4Address:
    return _NETWORK[number + 1]


async def serve(boxes: int) -> None:
    settings = ZoneSettings(
        origin=ORIGIN,
        name_servers=(f"ns1.{ORIGIN}",),
        contact=f"hostmaster.{ORIGIN}",
        server_addresses={f"ns1.{ORIGIN}": (IPv4Address("127.0.0.1"),)},
    )
    zone = Zone(settings)
    policy = AddressPolicy(networks=(_NETWORK,))
    zone.load(((label(number), (address(number),), policy) for number in range(boxes)), ())
    server = DnsServer(zone)
    await server.start("127.0.0.1", 0)
    writer = asyncio.create_task(_write_challenges(zone, [label(number) for number in range(boxes)]))
    print(json.dumps({"kind": "ready", "port": server.addresses[0][1]}), flush=True)
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    await told.wait()
    writer.cancel()
    await asyncio.gather(writer, return_exceptions=True)
    await server.stop()


async def _write_challenges(zone: Zone, labels: Sequence[str]) -> None:
    while True:
        for each in labels:
            zone.put_txt(each, "x" * 43)
            await asyncio.sleep(1 / CHALLENGES_PER_S)
            zone.drop_txt(each, "x" * 43)


def main() -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(int(sys.argv[1])))


if __name__ == "__main__":
    main()
