"""The role dns: the zone's content and the server that answers for it."""

from __future__ import annotations

import hmac
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address

from otscert.config import Config
from otscert.domain.addresses import IPAddress
from otscert.process import CannotStart
from otscert.roles.parts import Parts, Works
from otscert.service.topics import ZONE
from otscert.service.zone_checking import CheckShower
from otscert.service.zone_following import ZoneFollower, boxes_of
from otscert.service.zone_serial import SerialKeeper
from otscert.store.transaction import Transaction
from otscert.zones.challenge_zone import ChallengeZone
from otscert.zones.errors import ListenError
from otscert.zones.notify import Notifier, Standing, Told
from otscert.zones.server import DnsServer
from otscert.zones.settings import ZoneSettings
from otscert.zones.transfer import Transfers
from otscert.zones.tsig import Keys, TsigKey
from otscert.zones.zone import Zone


def make_zone(config: Config) -> Zone:
    """The zone that HQ answers for: the boxes' or that of their challenges; where others do, one that nobody asks."""
    origin = config.served_zone or config.zone.origin
    settings = ZoneSettings(
        origin=origin,
        name_servers=config.zone.name_servers if config.served_zone else ("ns.invalid",),
        contact=config.zone.contact,
        server_addresses=addresses_below(config, origin) if config.zone_elsewhere else config.zone.server_addresses,
        first_serial=int(time.time()),
    )
    return ChallengeZone(settings) if config.zone_elsewhere else Zone(settings)


def addresses_below(config: Config, zone: str) -> dict[str, tuple[IPAddress, ...]]:
    """The addresses of name servers that lie in one of the two zones, where the boxes' zone is held elsewhere."""
    return {host: at for host, at in config.zone.server_addresses.items() if host.endswith(f".{zone}")}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningDns:
    """The name server while it answers. `reload` fills the zone anew, as when the models have changed."""

    server: DnsServer
    reload: Callable[[], Awaitable[None]]
    works: Works
    secondaries: Callable[[], list[Standing]]
    """How far the servers of the secondaries are."""


async def start_dns(parts: Parts, zone: Zone, stack: AsyncExitStack) -> RunningDns:
    """Fill the zone and answer for it; raise `CannotStart`."""
    works = Works()
    followed = parts.is_shared or parts.config.zone_elsewhere
    if followed:
        follower = ZoneFollower(
            models=parts.hq.models,
            issuers=parts.issuers,
            store=parts.store,
            signals=parts.signals,
            zone=zone,
        )
        reload = follower.load
        works.append(follower.follow)
    else:
        reload = partial(parts.store.read, partial(_load_zone, zone, parts))
        keeper = SerialKeeper(store=parts.store, zone=zone, clock=parts.hq.clock)
        await keeper.start()
        works.append(keeper.work)
    await reload()
    if not followed:
        shower = CheckShower(store=parts.store, zone=parts.zone)
        await shower.look()
        works.append(shower.work)
    notifier, transfers = _secondaries(parts, zone)
    if notifier.servers:
        works.append(notifier.work)
    server = DnsServer(
        zone,
        signed=transfers,
        cookie_secret=hmac.digest(parts.pki.store_key(), b"otscert/v1/dns-cookies", "sha256"),
        rate_limit_per_s=parts.config.dns.rate_limit_per_s,
        share_port=parts.config.dns.share_port,
        log_one_in=parts.config.dns.log_one_in,
    )
    stack.push_async_callback(server.stop)
    for host, port in parts.config.listen_dns:
        try:
            await server.start(host, port)
        except ListenError as error:
            raise CannotStart(f"{error}; the setting is listen.dns") from error
    return RunningDns(server=server, reload=reload, works=works, secondaries=notifier.standings)


def _secondaries(parts: Parts, zone: Zone) -> tuple[Notifier, Transfers | None]:
    """Who tells the configured secondaries of changes, and what answers them; without any that is nobody, and None."""
    secondaries = parts.config.dns.secondaries
    keys = {
        each.name: TsigKey(name=each.key.name, algorithm=each.key.algorithm, secret=each.key.secret)
        for each in secondaries
    }
    servers = [
        Told(secondary=each.name, server=server, key=keys[each.name]) for each in secondaries for server in each.servers
    ]
    notifier = Notifier(zone, servers, now_s=_now_s)
    # Without secondaries there is no journal, which costs nothing.
    transfers = Transfers(zone, Keys(keys.values()), answer=zone.answer, now_s=_now_s) if secondaries else None
    return notifier, transfers


def _now_s() -> int:
    return int(time.time())


def _load_zone(zone: Zone, parts: Parts, transaction: Transaction) -> None:
    """Row by row, as they are read: a store that is this process's alone is read on the loop."""
    zone.load(boxes_of(transaction.devices.names(), parts.hq.models), transaction.challenges.all())
    zone.set_caa(transaction.caa.of(parts.issuers))
    zone.set_persist(transaction.persist.of(parts.issuers))


async def show_caa(parts: Parts, zone: Zone) -> None:
    """Have the zone show the CAA records that the store has by now."""
    if parts.is_shared or parts.config.zone_elsewhere:
        parts.signals.publish(ZONE)
    else:
        zone.set_caa(await parts.store.read(lambda transaction: transaction.caa.of(parts.issuers)))
        zone.set_persist(await parts.store.read(lambda transaction: transaction.persist.of(parts.issuers)))


def reachable(addresses: tuple[tuple[str, int], ...]) -> tuple[tuple[str, int], ...]:
    """Our own listeners as we can ask them: loopback instead of "every address"."""
    loopback = {4: "127.0.0.1", 6: "::1"}
    return tuple(
        (loopback[ip_address(host).version] if ip_address(host).is_unspecified else host, port)
        for host, port in addresses
    )
