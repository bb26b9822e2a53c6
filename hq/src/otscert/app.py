"""HQ as one process with one role or several: in which order they start and end. Decides nothing else.

Order of start: lock, keys, store, zone, DNS, device API, worker, metrics. DNS answers before any box or CA can ask for
something new; the worker starts after the listeners and resumes what an earlier HQ left. What a role is made of is in
`roles`.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import os
import secrets
import socket
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from functools import partial

import uvloop

from otscert.config import Config
from otscert.notify.errors import ChannelUnusable, TrustFileUnusable
from otscert.pki.files import PkiFolder
from otscert.pki.seal import Seal
from otscert.process import (
    CannotStart,
    background,
    listen_to_signals,
    one_of_several,
    only_one,
    spare_the_collector,
)
from otscert.rereading import Live, Rereading
from otscert.roles.alerts import start_alerts
from otscert.roles.api import start_api
from otscert.roles.dns import make_zone, reachable, show_caa, start_dns
from otscert.roles.metrics import start_metrics
from otscert.roles.parts import Parts, Works
from otscert.roles.role import ALL, Role, written
from otscert.roles.worker import RunningWorker, name_servers_of, start_worker
from otscert.service.context import ALONE, Hq, names_secret
from otscert.service.heartbeat import Heartbeat, OtherKeys
from otscert.service.ports import Signals
from otscert.service.signals import LocalSignals
from otscert.service.zone_following import ZoneElsewhere
from otscert.store.migrating import upgrade
from otscert.store.opening import open_store
from otscert.store.processes import Process

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
        other_issuers=frozenset(issuer.name for issuer in config.issuers),
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
    _check_roles(config, roles)
    told, told_to_read = listen_to_signals()
    async with AsyncExitStack() as stack:
        stack.enter_context(one_of_several(config.data_dir) if config.database_url else only_one(config.data_dir))
        pki = PkiFolder(folder=config.pki_dir)
        if Role.API in roles:
            for name in pki.renew_leaves(hosts=(config.public_host,), now_s=int(time.time())):
                _log.info("pki.renewed", extra={"certificate": name})
        _upgrade(config)
        store = open_store(config, followed=config.zone_elsewhere)
        stack.push_async_callback(store.close)
        events_after = await store.read(lambda transaction: transaction.statistics.last_event())
        live = _live(config)
        stack.push_async_callback(live.aclose)
        zone, works = make_zone(config), Works()
        signals = _signals(config, works)
        parts = Parts(
            config=config,
            roles=roles,
            pki=pki,
            seal=Seal(pki.store_key()),
            store=store,
            hq=make_hq(config, pki.store_key(), live, secrets.token_hex(8) if config.database_url else ALONE),
            live=live,
            signals=signals,
            zone=ZoneElsewhere(signals=signals) if config.database_url or config.zone_elsewhere else zone,
        )
        heartbeat = await _enter(parts, stack)
        if not config.database_url and not config.zone_elsewhere:
            await store.write(lambda transaction: transaction.zone_changes.forget())
        dns = await start_dns(parts, zone, stack) if Role.DNS in roles and config.served_zone else None
        api = await start_api(parts, stack) if Role.API in roles else None
        worker: RunningWorker | None = None
        if Role.WORKER in roles:
            worker = await start_worker(
                parts,
                caa_changed=partial(show_caa, parts, zone),
                name_servers=name_servers_of(config, reachable(dns.server.addresses if dns else ())),
                stack=stack,
            )
            heartbeat.take_on(keep=worker.keep, shared=worker.share_among)
        metrics = await start_metrics(
            parts,
            zone=zone,
            dns=dns,
            room=api.room if api else None,
            events_after=events_after,
            stack=stack,
        )
        rereading = Rereading(
            config=config,
            live=live,
            store=store,
            clock=parts.hq.clock,
            read=read,
            publish=dns.reload if dns else _nothing_to_fill,
        )
        works += start_alerts(parts, stack)
        for part in (dns, api, worker):
            works += part.works if part else []
        works += [heartbeat.work, partial(rereading.follow, told_to_read)]
        await stack.enter_async_context(background(*(work() for work in works)))
        spare_the_collector()
        listening = Listening(
            device=api.addresses if api else (), dns=dns.server.addresses if dns else (), metrics=metrics
        )
        _log.info("hq.ready", extra={**asdict(listening), "zone": config.zone.origin, "roles": written(roles)})
        ready(listening)
        await told.wait()
        _log.info("hq.stopping")


def _check_roles(config: Config, roles: frozenset[Role]) -> None:
    """Raise `CannotStart` for roles that this process cannot have alone."""
    if roles != ALL and not config.database_url:
        raise CannotStart(
            f"--role {written(roles).replace(' ', ',')}: HQ's database is SQLite, which one process has for itself, so"
            " that process has all roles; for several processes set database_url to a PostgreSQL (docs/processes.md)"
        )
    if roles == {Role.DNS} and not config.served_zone:
        raise CannotStart("there is nothing to do for the role dns: updates.servers names who answers for the zone")
    if Role.WORKER in roles and Role.DNS not in roles and not config.zone.check_servers:
        raise CannotStart(
            "this worker answers no DNS itself: name the zone's name servers in zone.check_servers (host:port of every"
            " process with the role dns), so that it can see what they serve before it tells the CA"
        )
    updates = config.dns.updates
    asks_itself = updates is not None and updates.challenge_zone and not updates.challenge_servers
    if asks_itself and Role.WORKER in roles and Role.DNS not in roles:
        raise CannotStart(
            "this worker answers no DNS itself: name every process with the role dns in updates.challenge_servers"
            " (host:port), so that it can see what they serve of updates.challenge_zone before it tells the CA"
        )


def _signals(config: Config, works: Works) -> Signals:
    if not config.database_url:
        return LocalSignals()
    from otscert.service.shared_signals import SharedSignals  # noqa: PLC0415 - its driver is an extra

    signals = SharedSignals(config.database_url)
    works.append(signals.work)
    return signals


async def _enter(parts: Parts, stack: AsyncExitStack) -> Heartbeat:
    """Join the processes of this store; raise `CannotStart` when this one cannot."""
    me = Process(
        id=parts.hq.process,
        host=socket.gethostname(),
        pid=os.getpid(),
        roles=written(parts.roles),
        key_check=hmac.digest(parts.pki.store_key(), b"otscert/v1/processes", "sha256")[:8].hex(),
        started_s=parts.hq.now_s(),
        seen_s=parts.hq.now_s(),
    )
    heartbeat = Heartbeat(hq=parts.hq, store=parts.store, me=me)
    try:
        await heartbeat.enter()
    except OtherKeys as error:
        raise CannotStart(str(error)) from error
    stack.push_async_callback(heartbeat.leave)
    return heartbeat


async def _nothing_to_fill() -> None:
    """This process has no zone: who answers DNS fills it there, when told to read again itself."""


def _upgrade(config: Config) -> None:
    """Bring SQLite of an older release up to date, with a backup; PostgreSQL waits for the administrator and his."""
    if not config.database_url and (done := upgrade(config)) is not None:
        changed = {"from_schema": done.found, "to_schema": done.version, "backup": str(done.backup)}
        _log.warning("store.upgraded", extra=changed)


def _live(config: Config) -> Live:
    try:
        return Live(config, SystemClock())
    except ChannelUnusable as error:
        raise CannotStart(str(error)) from error
    except TrustFileUnusable as error:
        raise CannotStart(f"{error}; the setting is webhook_trust_file of the model") from error


def run(
    config: Config, *, roles: frozenset[Role] = ALL, ready: Callable[[Listening], None], read: Callable[[], Config]
) -> None:
    """Run `serve` on uvloop."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(config, roles=roles, ready=ready, read=read))
