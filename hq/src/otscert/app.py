"""HQ as one process with one role or several: in which order they start and end. Decides nothing else.

Order of start: lock, keys, store, zone, DNS, device API, worker, metrics. DNS answers before any box or CA can ask for
something new; the worker starts after the listeners and resumes what an earlier HQ left. What a role is made of is in
`roles`.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial

import uvloop

from otscert.config import Config
from otscert.notify.errors import TrustFileUnusable
from otscert.pki.files import PkiFolder
from otscert.pki.seal import Seal
from otscert.process import CannotStart, background, listen_to_signals, only_one, spare_the_collector
from otscert.rereading import Live, Rereading
from otscert.roles.api import RunningApi, start_api
from otscert.roles.dns import load_zone, make_zone, reachable, start_dns
from otscert.roles.metrics import start_metrics
from otscert.roles.parts import Parts, Works
from otscert.roles.role import ALL, Role
from otscert.roles.worker import start_worker
from otscert.service.context import ALONE, Hq, names_secret
from otscert.service.signals import LocalSignals
from otscert.store.opening import open_store
from otscert.zones.server import DnsServer

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listening:
    """Where HQ listens, with the ports that were really taken."""

    device: tuple[tuple[str, int], ...]
    dns: tuple[tuple[str, int], ...]
    metrics: tuple[tuple[str, int], ...]


class SystemClock:
    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000


def make_hq(config: Config, store_key: bytes, live: Live, process: str = ALONE) -> Hq:
    return Hq(
        public_url=config.public_url,
        zone=config.zone.origin,
        models=live.models,
        tokens=live.tokens,
        issuers=config.preference,
        limits={issuer.name: issuer.limits for issuer in config.issuers},
        public_suffix=config.zone.public_suffix,
        checkin_s=config.checkin_s,
        hellos_per_address=config.hellos_per_address,
        hellos_per_model=config.hellos_per_model,
        orders_per_device=config.orders_per_device,
        open_admissions=config.open_admissions,
        stale_s=config.stale_s,
        secret=names_secret(store_key),
        clock=SystemClock(),
        randomness=secrets.token_bytes,
        process=process,
    )


async def serve(
    config: Config,
    *,
    roles: frozenset[Role] = ALL,
    ready: Callable[[Listening], None],
    read: Callable[[], Config],
) -> None:
    """Run HQ until SIGTERM or SIGINT; raise `CannotStart`, `StoreError` or `PkiError` when it cannot start.

    SIGHUP makes it read its configuration again, by `read`.
    """
    told, told_to_read = listen_to_signals()
    async with AsyncExitStack() as stack:
        stack.enter_context(only_one(config.data_dir))
        pki = PkiFolder(folder=config.pki_dir)
        for name in pki.renew_leaves(hosts=(config.public_host,), now_s=int(time.time())):
            _log.info("pki.renewed", extra={"certificate": name})
        store = open_store(config)
        stack.push_async_callback(store.close)
        events_after = await store.read(lambda transaction: transaction.statistics.last_event())
        live = _live(config)
        stack.push_async_callback(live.aclose)
        zone, works = make_zone(config), Works()
        parts = Parts(
            config=config,
            roles=roles,
            pki=pki,
            seal=Seal(pki.store_key()),
            store=store,
            hq=make_hq(config, pki.store_key(), live),
            live=live,
            signals=LocalSignals(),
            zone=zone,
        )
        name_server: DnsServer | None = None
        if Role.DNS in roles:
            await store.read(partial(load_zone, zone, config))
            name_server = await start_dns(config, zone, stack)
        dns = name_server.addresses if name_server else ()
        api: RunningApi | None = None
        if Role.API in roles:
            api = await start_api(parts, stack)
            works += api.works
        if Role.WORKER in roles:
            servers = config.zone.check_servers or reachable(dns)
            works += await start_worker(parts, zone=zone, name_servers=servers, stack=stack)
        room = api.room if api else None
        metrics = await start_metrics(
            parts,
            answers=zone.counters,
            name_server=name_server,
            room=room,
            events_after=events_after,
            stack=stack,
        )
        rereading = Rereading(
            config=config,
            live=live,
            store=store,
            clock=parts.hq.clock,
            read=read,
            publish=lambda read_again: store.read(partial(load_zone, zone, read_again)),
        )
        await stack.enter_async_context(background(*works, rereading.follow(told_to_read)))
        spare_the_collector()
        device = api.addresses if api else ()
        _log.info("hq.ready", extra={"device": device, "dns": dns, "metrics": metrics, "zone": config.zone.origin})
        ready(Listening(device=device, dns=dns, metrics=metrics))
        await told.wait()
        _log.info("hq.stopping")


def _live(config: Config) -> Live:
    try:
        return Live(config)
    except TrustFileUnusable as error:
        raise CannotStart(f"{error}; the setting is webhook_trust_file of the model") from error


def run(
    config: Config, *, roles: frozenset[Role] = ALL, ready: Callable[[Listening], None], read: Callable[[], Config]
) -> None:
    """Run `serve` on uvloop."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(config, roles=roles, ready=ready, read=read))
