"""HQ in this process, on free ports and a folder of its own: real HTTPS, real DNS, real SQLite, a real ACME CA to ask.

Wired as `otscert.app` wires it, but with what a test wants to hold in its hand: clock, randomness, quotas, and a
`Mortal` that ends HQ between any two steps. Start it again on the same folder and it resumes.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from starlette.types import ASGIApp, Receive, Scope, Send

from otscert.api.device.routes import DeviceApi
from otscert.api.http import BODY_S, Network
from otscert.api.room import Room
from otscert.api.server import HEAD_S, HttpsServer
from otscert.ca.connect import open_issuer
from otscert.config import IssuerConfig
from otscert.domain.addresses import DEFAULT_POLICY
from otscert.domain.admission import Model, Naming, Policy
from otscert.domain.assurance import Contribution, Source
from otscert.domain.limits import NONE_KNOWN, Limits
from otscert.domain.quota import Quota
from otscert.issuers import StoredAccount, issuer_settings
from otscert.pki.answers import AnswerSigner
from otscert.pki.files import PkiFolder
from otscert.pki.seal import Seal
from otscert.roles.worker import OwnNameServers
from otscert.service.admitting import Admitting
from otscert.service.checkin import CheckingIn
from otscert.service.context import Hq
from otscert.service.conversation import Conversation
from otscert.service.enroll import Enrolment
from otscert.service.hello import SayingHello
from otscert.service.issuance import Issuance
from otscert.service.key_checks import KeyChecks
from otscert.service.polling import OrderPolling
from otscert.service.setbacks import Setbacks
from otscert.service.signals import LocalSignals
from otscert.service.topics import DUE
from otscert.service.waiting import Waiting
from otscert.service.worker import Worker
from otscert.service.zone_following import boxes_of
from otscert.store.sqlite import SqliteStore
from otscert.store.transaction import Transaction
from otscert.zones.server import DnsServer
from otscert.zones.settings import ZoneSettings
from otscert.zones.zone import Zone
from tests.scripted_ca import ScriptedCa

ZONE = "boxes.example.com"
LOOPBACK = "127.0.0.1"
ISSUER = "scripted"
TOKEN = b"a-claim-token-of-the-firmware"
DAY_S = 24 * 3600
PLENTY = Quota(count=100_000, period_s=DAY_S)
FOUR_A_WEEK = Quota(count=4, period_s=7 * DAY_S)
T = TypeVar("T")


class TestClock:
    """Wall-clock time that a test moves on, or back, by `ahead_s`."""

    __test__ = False

    def __init__(self) -> None:
        self.ahead_s = 0

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000 + self.ahead_s * 1000


class Mortal:
    """Counts the steps of HQ's worker and stops everything before step `lives` (from 1), as kill -9 does."""

    def __init__(self, lives: int | None = None) -> None:
        self.lives = lives
        self.steps = 0
        self.died = asyncio.Event()

    async def step(self) -> None:
        self.steps += 1
        if self.died.is_set() or self.steps == self.lives:
            self.died.set()
            await asyncio.Event().wait()  # a dead process goes on with nothing

    async def around(self, work: Callable[[], Awaitable[T]]) -> T:
        await self.step()
        result = await work()
        await self.step()
        return result


class MortalStore:
    """The store as the worker sees it; HQ may die before each write and right after its commit."""

    def __init__(self, store: SqliteStore, mortal: Mortal) -> None:
        self._store, self._mortal = store, mortal

    async def write(self, work: Callable[[Transaction], T]) -> T:
        return await self._mortal.around(lambda: self._store.write(work))

    async def read(self, work: Callable[[Transaction], T]) -> T:
        return await self._store.read(work)


class MortalIssuer:
    """The CA as the worker sees it; HQ may die before each request and right after its answer."""

    def __init__(self, issuer: Any, mortal: Mortal) -> None:
        self._issuer, self._mortal = issuer, mortal

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        method = getattr(self._issuer, name)

        async def call(*values: Any, **named: Any) -> Any:
            return await self._mortal.around(lambda: method(*values, **named))

        return call


def make_model(name: str = "box", **changes: Any) -> Model:
    """A model open to everybody, with plenty of quota; `changes` replace its members."""
    members: dict[str, Any] = {
        "name": name,
        "policies": (Policy.OPEN,),
        "addresses": DEFAULT_POLICY,
        "naming": Naming.OPAQUE,
        "static_address": True,
        "admissions_per_address": PLENTY,
        "admissions_per_model": PLENTY,
        "admissions_per_token": PLENTY,
        "waiting_per_address": PLENTY,
        "min_contribution": Contribution.OPEN,
        "min_source": Source.STARVED,
        "rekey_after_s": 0,
        "allow_rsa": False,
        "webhook": False,
        "revoke_replaced": True,
    }
    return Model(**(members | changes))


def default_models() -> dict[str, Model]:
    return {
        "box": make_model(),
        "token-box": make_model("token-box", policies=(Policy.TOKEN,)),
        "other-token-box": make_model("other-token-box", policies=(Policy.TOKEN,)),
    }


@dataclass(slots=True, kw_only=True)
class HqOptions:
    """What a test may change. `lives`: see `Mortal`; no `ca`: no worker, so orders stay where they are."""

    folder: Path
    ca: ScriptedCa | None = None
    more_cas: Mapping[str, ScriptedCa] = field(default_factory=dict)
    """CAs to fall back to, by the names of their issuers, in order of preference."""
    issuer_settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """What the configuration says otherwise of an issuer (`IssuerConfig`)."""
    dns_port: int = 0
    models: Mapping[str, Model] = field(default_factory=default_models)
    tokens: Mapping[str, tuple[bytes, ...]] = field(
        default_factory=lambda: {"token-box": (TOKEN,), "other-token-box": (b"another-claim-token",)}
    )
    hellos_per_address: Quota = PLENTY
    hellos_per_model: Quota = PLENTY
    open_admissions: Quota = PLENTY
    stale_s: int = 90 * DAY_S
    orders_per_device: Quota = FOUR_A_WEEK
    checkin_s: int = 21_600
    clock: TestClock = field(default_factory=TestClock)
    randomness: Callable[[int], bytes] = secrets.token_bytes
    max_in_flight: int = 8
    head_s: float = HEAD_S
    body_s: float = BODY_S
    lives: int | None = None
    room: Room = field(default_factory=Room)
    limits: Limits = NONE_KNOWN
    """What HQ believes that the CA allows."""

    trusted_proxies: Sequence[Network] = ()


@dataclass(slots=True, kw_only=True)
class RunningHq:
    """HQ while it runs."""

    hq: Hq
    store: SqliteStore
    zone: Zone
    dns: tuple[str, int]
    roots_pem: bytes
    mortal: Mortal
    clock: TestClock
    conversation: Conversation
    database: Path
    seal: Seal
    signals: LocalSignals
    issuer: Any = None
    """The CA account as the worker has it; None without a CA."""

    issuer_configs: dict[str, IssuerConfig] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return self.hq.public_url

    async def show_caa(self) -> None:
        self.zone.set_caa(await self.store.read(lambda transaction: transaction.caa.of(self.hq.issuers)))
        self.zone.set_persist(await self.store.read(lambda transaction: transaction.persist.of(self.hq.issuers)))

    def wake(self) -> None:
        """Let the worker look at its queue now, as when the clock was moved."""
        self.signals.publish(DUE)

    async def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """Look into the database, which has no such interface on purpose."""
        return await self.store.read(lambda transaction: transaction._connection.execute(sql, values).fetchall())

    async def count(self, table: str) -> int:
        return int((await self.rows(f"SELECT count(*) FROM {table}"))[0][0])  # noqa: S608 - a test's own word

    async def event_kinds(self) -> list[str]:
        return [row[0] for row in await self.rows("SELECT kind FROM event ORDER BY id")]


class _Switch:
    """An ASGI application that is named after its server listens: `public_url` holds the port."""

    app: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)


@asynccontextmanager
async def run_hq(options: HqOptions) -> AsyncIterator[RunningHq]:
    """Run HQ on this event loop; what is left on disk at the end is what a new one finds."""
    async with AsyncExitStack() as stack:
        pki = PkiFolder(folder=options.folder / "pki")
        if not pki.root_pem.exists():
            pki.create(zone=ZONE, hosts=(LOOPBACK,), passphrase=None, now_s=int(time.time()))
        store = SqliteStore.open(options.folder / "hq.db")
        stack.push_async_callback(store.close)
        zone = await _zone(store, options)
        dns = DnsServer(zone)
        stack.push_async_callback(dns.stop)
        await dns.start(LOOPBACK, options.dns_port)
        switch = _Switch()
        https = HttpsServer(
            switch, host=LOOPBACK, port=0, certificate=pki.tls_pem, room=options.room, head_s=options.head_s
        )
        port = await https.start()
        stack.push_async_callback(https.stop)
        hq, seal, signals = _hq(options, port, pki.store_key()), Seal(pki.store_key()), LocalSignals()
        conversation = Conversation(hq=hq, store=store, signer=AnswerSigner(pki.answer()), seal=seal)
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
            trusted_proxies=options.trusted_proxies,
            body_s=options.body_s,
        )
        switch.app = api.app()
        running = RunningHq(
            hq=hq,
            store=store,
            zone=zone,
            dns=dns.addresses[0],
            roots_pem=pki.root_pem.read_bytes(),
            mortal=Mortal(options.lives),
            clock=options.clock,
            conversation=conversation,
            database=options.folder / "hq.db",
            seal=seal,
            signals=signals,
        )
        if options.ca is not None:
            await _start_worker(running, options, options.ca, signals, stack)
        yield running


def make_hq(clock: TestClock, process: str) -> Hq:
    """What a use case knows that is tried without a running HQ, in a process of this name."""
    return replace(_hq(HqOptions(folder=Path(), clock=clock), 1, b"secret"), process=process)


def _hq(options: HqOptions, port: int, secret: bytes) -> Hq:
    return Hq(
        public_url=f"https://{LOOPBACK}:{port}",
        zone=ZONE,
        models=options.models,
        tokens=options.tokens,
        issuers=(ISSUER, *options.more_cas),
        limits={ISSUER: options.limits},
        checkin_s=options.checkin_s,
        hellos_per_address=options.hellos_per_address,
        hellos_per_model=options.hellos_per_model,
        orders_per_device=options.orders_per_device,
        open_admissions=options.open_admissions,
        stale_s=options.stale_s,
        secret=secret,
        clock=options.clock,
        randomness=options.randomness,
    )


async def _zone(store: SqliteStore, options: HqOptions) -> Zone:
    zone = Zone(
        ZoneSettings(
            origin=ZONE,
            name_servers=("ns.example.net",),
            contact=f"hostmaster.{ZONE}",
            server_addresses={},
            first_serial=int(time.time()),
        )
    )

    def load(transaction: Transaction) -> None:
        boxes = boxes_of(transaction.devices.names(), options.models)
        zone.load(boxes, transaction.challenges.all())

    await store.read(load)
    return zone


async def _start_worker(
    running: RunningHq, options: HqOptions, ca: ScriptedCa, signals: LocalSignals, stack: AsyncExitStack
) -> None:
    accounts: dict[str, Any] = {}
    for name, each in {ISSUER: ca, **options.more_cas}.items():
        trust = options.folder / f"{name}.pem"
        trust.write_text(each.trust_pem)
        config = replace(issuer_config(name, each.directory_url, trust), **options.issuer_settings.get(name, {}))
        running.issuer_configs[name] = config
        settings, key = await issuer_settings(config, running.store, running.seal)
        book = StoredAccount(issuer=config, store=running.store, seal=running.seal, caa_changed=running.show_caa)
        opened = await stack.enter_async_context(open_issuer(settings, key, book=book))
        accounts[name] = MortalIssuer(opened, running.mortal)
    running.issuer = accounts[ISSUER]
    store: Any = MortalStore(running.store, running.mortal)
    issuance = Issuance(
        hq=running.hq,
        store=store,
        accounts=accounts,
        zone=running.zone,
        name_servers=OwnNameServers(servers=(running.dns,)),
        signals=signals,
    )
    worker = Worker(
        hq=running.hq,
        store=store,
        issuance=issuance,
        signals=signals,
        setbacks=Setbacks(hq=running.hq, store=store, zone=running.zone, signals=signals),
        max_in_flight=options.max_in_flight,
    )
    task = asyncio.create_task(worker.work())

    async def stop() -> None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await worker.stop()

    stack.push_async_callback(stop)


def issuer_config(name: str, directory_url: str, trust: Path) -> IssuerConfig:
    """What a configuration says of an issuer, with the terms agreed to."""
    return IssuerConfig(
        name=name,
        directory_url=directory_url,
        contact=(),
        terms_agreed=True,
        profile="tlsserver",
        trust_file=trust,
        eab_kid="",
        eab_hmac_key="",
        caa_identity="",
        max_in_flight=8,
    )
