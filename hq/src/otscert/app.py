"""HQ as one process: what is wired to what, in which order it starts and ends. Decides nothing else.

Order of start: lock, keys, store, zone, DNS, device API, account, worker. DNS answers before any box or CA can ask for
something new; the worker starts last and resumes what an earlier HQ left.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from ipaddress import ip_address

import uvloop

from otscert.api.device.routes import DeviceApi
from otscert.api.metrics.overview import Overviews
from otscert.api.metrics.page import MOST_CONNECTIONS, metrics_app
from otscert.api.metrics.scrape import Scraping
from otscert.api.room import Room, room_for_files
from otscert.api.server import HttpServer, HttpsServer
from otscert.ca.connect import open_issuer
from otscert.config import Config
from otscert.counting import Counts
from otscert.domain.admission import Model
from otscert.issuers import issuer_settings, look_up_account
from otscert.notify.errors import TrustFileUnusable
from otscert.pki.answers import AnswerSigner
from otscert.pki.certificates import KeyPair
from otscert.pki.files import PkiFolder
from otscert.pki.seal import Seal
from otscert.process import CannotStart, background, listen_to_signals, only_one, spare_the_collector
from otscert.rereading import Live, Rereading
from otscert.service import housekeeping
from otscert.service.admitting import Admitting
from otscert.service.ari import AskingWhen
from otscert.service.checkin import CheckingIn
from otscert.service.context import Hq, names_secret
from otscert.service.conversation import Conversation
from otscert.service.enroll import Enrolment
from otscert.service.hello import SayingHello
from otscert.service.issuance import Issuance
from otscert.service.key_checks import KeyChecks
from otscert.service.own_leaves import OwnLeaves
from otscert.service.polling import OrderPolling
from otscert.service.publish import published_addresses
from otscert.service.revocations import Revoking
from otscert.service.setbacks import Setbacks
from otscert.service.signals import LocalSignals
from otscert.service.waiting import Waiting
from otscert.service.webhook import WebhookWorker
from otscert.service.worker import Worker
from otscert.store.errors import StoreUnavailable
from otscert.store.sqlite import SqliteStore
from otscert.store.transaction import Transaction
from otscert.zones.check import wait_until_served
from otscert.zones.content import BoxEntry
from otscert.zones.errors import ListenError
from otscert.zones.server import DnsServer
from otscert.zones.settings import ZoneSettings
from otscert.zones.zone import Zone

_DNS_DEADLINE_S = 20.0
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


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnNameServers:
    """Asks every name server of the zone, as the CA will."""

    servers: tuple[tuple[str, int], ...]

    async def wait_until_served(self, name: str, values: Iterable[str]) -> str | None:
        result = await wait_until_served(self.servers, name, list(values), _DNS_DEADLINE_S)
        return None if result.served else result.reason


def make_hq(config: Config, store_key: bytes, live: Live) -> Hq:
    return Hq(
        public_url=config.public_url,
        zone=config.zone.origin,
        models=live.models,
        tokens=live.tokens,
        issuers=config.preference,
        checkin_s=config.checkin_s,
        hellos_per_address=config.hellos_per_address,
        hellos_per_model=config.hellos_per_model,
        orders_per_device=config.orders_per_device,
        open_admissions=config.open_admissions,
        stale_s=config.stale_s,
        secret=names_secret(store_key),
        clock=SystemClock(),
        randomness=secrets.token_bytes,
    )


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


async def serve(config: Config, *, ready: Callable[[Listening], None], read: Callable[[], Config]) -> None:
    """Run HQ until SIGTERM or SIGINT; raise `CannotStart`, `StoreError` or `PkiError` when it cannot start.

    SIGHUP makes it read its configuration again, by `read`.
    """
    told, told_to_read = listen_to_signals()
    async with AsyncExitStack() as stack:
        stack.enter_context(only_one(config.data_dir))
        pki = PkiFolder(folder=config.pki_dir)
        for name in pki.renew_leaves(hosts=(config.public_host,), now_s=int(time.time())):
            _log.info("pki.renewed", extra={"certificate": name})
        store = SqliteStore.open(config.database)
        stack.push_async_callback(store.close)
        events_after = await store.read(lambda transaction: transaction.statistics.last_event())
        zone = make_zone(config)
        await store.read(lambda transaction: _load_zone(zone, config, transaction))
        name_server = await _start_dns(config, zone, stack)
        dns, counts = name_server.addresses, Counts()
        seal = Seal(pki.store_key())
        live = _live(config)
        stack.push_async_callback(live.aclose)
        hq, signals = make_hq(config, pki.store_key(), live), LocalSignals()
        settings, key = await issuer_settings(config.issuers[0], store, seal)
        issuer = await stack.enter_async_context(open_issuer(settings, key, requests=counts.ca_requests))
        signer = AnswerSigner(pki.answer())
        conversation = Conversation(hq=hq, store=store, signer=signer, seal=seal)
        api = DeviceApi(
            conversation=conversation,
            hello=SayingHello(hq=hq),
            enroll=Enrolment(
                hq=hq,
                zone=zone,
                signals=signals,
                admitting=Admitting(hq=hq, waiting=Waiting(hq=hq, seal=seal, signals=signals)),
                keys=KeyChecks(store),
            ),
            checkin=CheckingIn(hq=hq, zone=zone, seal=seal, signals=signals),
            orders=OrderPolling(hq=hq, store=store, signals=signals, conversation=conversation, zone=zone),
            trusted_proxies=config.trusted_proxies,
            counts=counts.messages,
        )
        room = Room(most=room_for_files(), exempt=config.trusted_proxies)
        device, servers = await _start_api(config, api, pki, room, stack)

        def take_up(answer: KeyPair) -> None:
            for server in servers:
                server.reload_certificate()
            signer.replace(answer)

        leaves = OwnLeaves(pki=pki, hosts=(config.public_host,), store=store, clock=hq.clock, take_up=take_up)
        issuance = Issuance(
            hq=hq,
            store=store,
            issuer=issuer,
            challenger=issuer,
            zone=zone,
            name_servers=OwnNameServers(servers=config.zone.check_servers or _reachable(dns)),
            signals=signals,
        )
        worker = Worker(
            hq=hq,
            store=store,
            issuance=issuance,
            setbacks=Setbacks(hq=hq, store=store, zone=zone, signals=signals),
            signals=signals,
            max_in_flight=config.issuers[0].max_in_flight,
            issuances=counts.issuances,
        )
        stack.push_async_callback(worker.stop)
        webhooks = WebhookWorker(hq=hq, store=store, signals=signals, webhooks=live.webhooks, counts=counts.webhooks)
        stack.push_async_callback(webhooks.stop)
        scraping = Scraping(
            clock=hq.clock,
            issuers=[each.name for each in config.issuers],
            counts=counts,
            answers=zone.counters,
            name_server=name_server,
            room=room,
            pki=pki,
            database=config.database,
            overviews=Overviews(database=config.database, checkin_s=config.checkin_s, events_after=events_after),
        )
        metrics = await _start_metrics(config, scraping, stack)
        rereading = Rereading(
            config=config,
            live=live,
            store=store,
            clock=hq.clock,
            read=read,
            publish=lambda read_again: store.read(lambda transaction: _load_zone(zone, read_again, transaction)),
        )
        await stack.enter_async_context(
            background(
                worker.work(),
                Revoking(hq=hq, store=store, revoker=issuer).work(),
                AskingWhen(hq=hq, store=store, source=issuer).work(),
                webhooks.work(),
                rereading.follow(told_to_read),
                _sweep(hq, store),
                _follow(hq, store, zone),
                leaves.keep(),
                look_up_account(config.issuers[0], issuer, store, zone),
            )
        )
        spare_the_collector()
        _log.info("hq.ready", extra={"device": device, "dns": dns, "metrics": metrics, "zone": config.zone.origin})
        ready(Listening(device=device, dns=dns, metrics=metrics))
        await told.wait()
        _log.info("hq.stopping")


def _load_zone(zone: Zone, config: Config, transaction: Transaction) -> None:
    def entry(label: str, model: Model, addresses: str) -> BoxEntry:
        return label, published_addresses(model, addresses.split()), model.addresses

    boxes = (
        entry(label, config.models[model], addresses)
        for label, model, addresses in transaction.devices.names()
        if model in config.models
    )
    zone.load(boxes, transaction.challenges.all())


async def _start_dns(config: Config, zone: Zone, stack: AsyncExitStack) -> DnsServer:
    server = DnsServer(zone)
    stack.push_async_callback(server.stop)
    for host, port in config.listen_dns:
        try:
            await server.start(host, port)
        except ListenError as error:
            raise CannotStart(f"{error}; the setting is listen.dns") from error
    return server


async def _start_api(
    config: Config, api: DeviceApi, pki: PkiFolder, room: Room, stack: AsyncExitStack
) -> tuple[tuple[tuple[str, int], ...], list[HttpsServer]]:
    app, taken, servers = api.app(), [], []
    for host, port in config.listen_device:
        server = HttpsServer(app, host=host, port=port, certificate=pki.tls_pem, room=room)
        try:
            taken.append((host, await server.start()))
        except OSError as error:
            raise _port_problem("the device API", "listen.device", host, port, error) from error
        stack.push_async_callback(server.stop)
        servers.append(server)
    return tuple(taken), servers


async def _start_metrics(config: Config, scraping: Scraping, stack: AsyncExitStack) -> tuple[tuple[str, int], ...]:
    app, room, taken = metrics_app(scraping), Room(most=MOST_CONNECTIONS), []
    for host, port in config.listen_metrics:
        server = HttpServer(app, host=host, port=port, room=room)
        try:
            taken.append((host, await server.start()))
        except OSError as error:
            raise _port_problem("the metrics listener", "listen.metrics", host, port, error) from error
        stack.push_async_callback(server.stop)
    return tuple(taken)


def _port_problem(what: str, setting: str, host: str, port: int, error: OSError) -> CannotStart:
    hint = (
        "ports below 1024 need the capability CAP_NET_BIND_SERVICE (setcap, or AmbientCapabilities in systemd)"
        if isinstance(error, PermissionError)
        else f"see who has it with: ss -lntup 'sport = :{port}'"
    )
    return CannotStart(
        f"{what} cannot listen at {host}:{port} ({error.strerror or error}): {hint}, or change {setting}"
    )


def _reachable(addresses: tuple[tuple[str, int], ...]) -> tuple[tuple[str, int], ...]:
    """Our own listeners as we can ask them: loopback instead of "every address"."""
    loopback = {4: "127.0.0.1", 6: "::1"}
    return tuple(
        (loopback[ip_address(host).version] if ip_address(host).is_unspecified else host, port)
        for host, port in addresses
    )


async def _sweep(hq: Hq, store: SqliteStore) -> None:
    while True:
        try:
            await housekeeping.sweep(hq, store)
        except StoreUnavailable as error:
            _log.warning("housekeeping.postponed", extra={"reason": str(error)})
        await asyncio.sleep(housekeeping.EVERY_S)


async def _follow(hq: Hq, store: SqliteStore, zone: Zone) -> None:
    while True:
        try:
            await housekeeping.follow(hq, store, zone)
        except StoreUnavailable as error:
            _log.warning("housekeeping.postponed", extra={"reason": str(error)})
        await asyncio.sleep(housekeeping.FOLLOW_EVERY_S)


def _live(config: Config) -> Live:
    try:
        return Live(config)
    except TrustFileUnusable as error:
        raise CannotStart(f"{error}; the setting is webhook_trust_file of the model") from error


def run(config: Config, *, ready: Callable[[Listening], None], read: Callable[[], Config]) -> None:
    """Run `serve` on uvloop."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(config, ready=ready, read=read))
