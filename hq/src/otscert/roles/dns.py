"""The role dns: the zone's content and the server that answers for it."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack
from ipaddress import ip_address

from otscert.config import Config
from otscert.domain.admission import Model
from otscert.process import CannotStart
from otscert.service.publish import published_addresses
from otscert.store.transaction import Transaction
from otscert.zones.content import BoxEntry
from otscert.zones.errors import ListenError
from otscert.zones.server import DnsServer
from otscert.zones.settings import ZoneSettings
from otscert.zones.zone import Zone


def make_zone(config: Config) -> Zone:
    return Zone(
        ZoneSettings(
            origin=config.zone.origin,
            name_servers=config.zone.name_servers,
            contact=config.zone.contact,
            server_addresses=config.zone.server_addresses,
            first_serial=int(time.time()),
        )
    )


def load_zone(zone: Zone, config: Config, transaction: Transaction) -> None:
    """Fill the zone with all that the store has for it."""

    def entry(label: str, model: Model, addresses: str) -> BoxEntry:
        return label, published_addresses(model, addresses.split()), model.addresses

    boxes = (
        entry(label, config.models[model], addresses)
        for label, model, addresses in transaction.devices.names()
        if model in config.models
    )
    zone.load(boxes, transaction.challenges.all())


async def start_dns(config: Config, zone: Zone, stack: AsyncExitStack) -> DnsServer:
    """Answer for the zone; raise `CannotStart`."""
    server = DnsServer(zone)
    stack.push_async_callback(server.stop)
    for host, port in config.listen_dns:
        try:
            await server.start(host, port)
        except ListenError as error:
            raise CannotStart(f"{error}; the setting is listen.dns") from error
    return server


def reachable(addresses: tuple[tuple[str, int], ...]) -> tuple[tuple[str, int], ...]:
    """Our own listeners as we can ask them: loopback instead of "every address"."""
    loopback = {4: "127.0.0.1", 6: "::1"}
    return tuple(
        (loopback[ip_address(host).version] if ip_address(host).is_unspecified else host, port)
        for host, port in addresses
    )
