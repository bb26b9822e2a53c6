"""The role worker: obtains certificates, and does what no box waits for."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial

from otscert.ca.pacing import Pacing
from otscert.config import Config
from otscert.issuers import look_up_account, open_issuers
from otscert.roles.parts import Parts, Works
from otscert.roles.updates import update_works
from otscert.service import housekeeping
from otscert.service.ari import AskingWhen
from otscert.service.issuance import Issuance
from otscert.service.leader import Leader
from otscert.service.ports import NameServers
from otscert.service.revocations import Revoking
from otscert.service.setbacks import Setbacks
from otscert.service.upkeep import Upkeep
from otscert.service.webhook import WebhookWorker
from otscert.service.worker import Worker
from otscert.store.errors import StoreUnavailable
from otscert.zones.check import ServerAddress, wait_until_alias, wait_until_served

_DNS_DEADLINE_S = 20.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnNameServers:
    """Asks every name server of the zone, as the CA will."""

    servers: tuple[ServerAddress, ...]

    async def wait_until_served(self, name: str, values: Iterable[str]) -> str | None:
        result = await wait_until_served(self.servers, name, list(values), _DNS_DEADLINE_S)
        return None if result.served else result.reason


@dataclass(frozen=True, slots=True, kw_only=True)
class ServersOfBothZones:
    """Asks the zone's name servers for the alias, and those of the zone of challenges for what it leads to."""

    zone: str
    servers: tuple[ServerAddress, ...]
    challenge_zone: str
    challenge_servers: tuple[ServerAddress, ...]
    deadline_s: float = _DNS_DEADLINE_S

    async def wait_until_served(self, name: str, values: Iterable[str]) -> str | None:
        target = f"{name.removesuffix(self.zone)}{self.challenge_zone}"
        results = await asyncio.gather(
            wait_until_alias(self.servers, name, target, self.deadline_s),
            wait_until_served(self.challenge_servers, target, list(values), self.deadline_s),
        )
        return "; ".join(result.reason for result in results if not result.served) or None


def name_servers_of(config: Config, own: tuple[ServerAddress, ...]) -> NameServers:
    """Who is asked before a CA is told; `own` are the listeners of this process."""
    zone, updates = config.zone, config.dns.updates
    if updates is None or not updates.challenge_zone:
        return OwnNameServers(servers=zone.check_servers or own)
    return ServersOfBothZones(
        zone=zone.origin,
        servers=zone.check_servers,
        challenge_zone=updates.challenge_zone,
        challenge_servers=updates.challenge_servers or own,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningWorker:
    """The worker while it works. `keep` renews the leases of what runs; workers share the CAs' limits per second."""

    keep: Callable[[], Awaitable[None]]
    share_among: Callable[[int], None]
    works: Works


async def start_worker(
    parts: Parts,
    *,
    caa_changed: Callable[[], Awaitable[None]],
    name_servers: NameServers,
    stack: AsyncExitStack,
) -> RunningWorker:
    """What the worker does; raises `CannotStart` or `StoreError` when an account cannot be used at all."""
    config, hq, store, signals = parts.config, parts.hq, parts.store, parts.signals
    pacings: list[Pacing] = []
    accounts = await open_issuers(
        config.issuers,
        store,
        parts.seal,
        requests=parts.counts.ca_requests,
        caa_changed=caa_changed,
        pacings=pacings,
        stack=stack,
    )
    issuance = Issuance(
        hq=hq,
        store=store,
        accounts=accounts,
        places={issuer.name: asyncio.Semaphore(issuer.max_in_flight) for issuer in config.issuers},
        zone=parts.zone,
        name_servers=name_servers,
        signals=signals,
    )
    worker = Worker(
        hq=hq,
        store=store,
        issuance=issuance,
        setbacks=Setbacks(hq=hq, store=store, zone=parts.zone, signals=signals),
        signals=signals,
        max_in_flight=sum(issuer.max_in_flight for issuer in config.issuers),
        issuances=parts.counts.issuances,
    )
    stack.push_async_callback(worker.give_back)
    stack.push_async_callback(worker.stop)
    webhooks = WebhookWorker(
        hq=hq, store=store, signals=signals, webhooks=parts.live.webhooks, counts=parts.counts.webhooks
    )
    stack.push_async_callback(webhooks.stop)

    def share_among(workers: int) -> None:
        for pacing in pacings:
            pacing.share_among(workers)

    leader = Leader(hq=hq, store=store)
    return RunningWorker(
        keep=worker.keep,
        share_among=share_among,
        works=[
            worker.work,
            AskingWhen(hq=hq, store=store, sources=accounts).work,
            *(partial(look_up_account, name, account, store, hq.clock) for name, account in accounts.items()),
            # Of these one process does each; the others stand by.
            *update_works(parts, leader),
            partial(leader.lead, "revocations", Revoking(hq=hq, store=store, revokers=accounts).work),
            partial(leader.lead, "webhooks", webhooks.work),
            partial(leader.lead, "upkeep", Upkeep(hq=hq, store=store, signals=signals).work),
            partial(leader.lead, "sweeping", partial(_sweep, parts)),
            partial(leader.lead, "leaving DNS", partial(_follow, parts)),
        ],
    )


async def _sweep(parts: Parts) -> None:
    while True:
        try:
            await housekeeping.sweep(parts.hq, parts.store)
        except StoreUnavailable as error:
            _log.warning("housekeeping.postponed", extra={"reason": str(error)})
        await asyncio.sleep(housekeeping.EVERY_S)


async def _follow(parts: Parts) -> None:
    while True:
        try:
            await housekeeping.follow(parts.hq, parts.store, parts.zone)
        except StoreUnavailable as error:
            _log.warning("housekeeping.postponed", extra={"reason": str(error)})
        await asyncio.sleep(housekeeping.FOLLOW_EVERY_S)
