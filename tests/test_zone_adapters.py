"""Challenges in the zone, whoever answers for it: the same tests for HQ itself and for servers elsewhere."""

from __future__ import annotations

import asyncio
import base64
import itertools
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Protocol, cast

import dns.asyncquery
import dns.message
import dns.tsig
import pytest
from hq.tests.store.rows import device, order

from otscert.counting import Tally
from otscert.service.signals import LocalSignals
from otscert.service.topics import ZONE
from otscert.service.zone_following import ZoneFollower
from otscert.service.zone_pushing import ZonePusher
from otscert.store.opening import Store
from otscert.store.postgresql import PostgresStore
from otscert.store.sqlite import SqliteStore
from otscert.store.transaction import Transaction
from otscert.zones.check import CheckResult, wait_until_served
from otscert.zones.errors import UpdateError
from otscert.zones.notify import Notifier, Told
from otscert.zones.server import DnsServer
from otscert.zones.settings import ZoneSettings
from otscert.zones.transfer import Transfers
from otscert.zones.tsig import Keys, TsigKey
from otscert.zones.update_server import UpdateServer
from otscert.zones.update_sheet import UpdateSheet
from otscert.zones.zone import Zone
from tests.harness.hq import make_model
from tests.harness.name_servers.bind import NameServer, bind
from tests.harness.name_servers.knot import knot_secondary
from tests.harness.name_servers.knot_primary import knot_primary
from tests.harness.name_servers.nsd import nsd_secondary
from tests.harness.ports import LOOPBACK, free_port

ZONE_NAME = "boxes.example.com"
SECRET = b"a secret of thirty-two octets..."
TEXT_SECRET = base64.b64encode(SECRET).decode()
KEY = TsigKey(name="otscert", algorithm="hmac-sha256", secret=SECRET)
PLACEHOLDER = "no challenge is waiting"
WITHIN_S = 20.0
# Servers that transfer the zone outlive a test's zone; each test's begins far ahead of the one before.
_SERIALS = itertools.count(1_000_000, 1_000_000)
Address = tuple[str, int]


class Content(Protocol):
    """What HQ has to say of its boxes, on its way into the zone. Box number 1 is there, without a challenge."""

    async def add(self, numbers: Sequence[int]) -> None: ...

    async def put(self, values: Sequence[str]) -> None: ...

    async def drop(self) -> None: ...

    async def set_caa(self, values: Sequence[str]) -> None: ...

    async def leave(self) -> None: ...


@dataclass(slots=True, kw_only=True)
class InZone:
    """Said to the zone itself, as where one process has the store and answers."""

    zone: Zone
    values: list[str] = field(default_factory=list)

    async def add(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            self.zone.activate(f"label{number}", [ip_address("192.168.1.20")], make_model().addresses)

    async def put(self, values: Sequence[str]) -> None:
        self.values = list(values)
        for value in values:
            self.zone.put_txt("label1", value)

    async def drop(self) -> None:
        for value in self.values:
            self.zone.drop_txt("label1", value)

    async def set_caa(self, values: Sequence[str]) -> None:
        self.zone.set_caa(values)

    async def leave(self) -> None:
        self.zone.withdraw("label1")


@dataclass(slots=True, kw_only=True)
class InStore:
    """Written into the store, from which somebody has to take it up."""

    store: Store
    signals: LocalSignals

    async def add(self, numbers: Sequence[int]) -> None:
        await asyncio.gather(
            *(self._write(lambda t, number=number: t.devices.add(device(number))) for number in numbers)
        )

    async def put(self, values: Sequence[str]) -> None:
        def put(transaction: Transaction) -> None:
            transaction.orders.add(order())
            transaction.challenges.put("o1", "label1", values)

        await self._write(put)

    async def drop(self) -> None:
        await self._write(lambda t: t.challenges.drop("o1"))

    async def set_caa(self, values: Sequence[str]) -> None:
        await self._write(lambda t: t.caa.put("ca", values))

    async def leave(self) -> None:
        await self._write(lambda t: t.devices.leave_dns("d1"))

    async def _write(self, work: Any) -> None:
        await self.store.write(work)
        self.signals.publish(ZONE)


@dataclass(slots=True, kw_only=True)
class Way:
    """What HQ says, and the name servers at which it is to be seen."""

    content: Content
    servers: tuple[Address, ...]

    async def served(self, values: list[str], label: str = "label1", within_s: float = WITHIN_S) -> CheckResult:
        return await wait_until_served(self.servers, f"_acme-challenge.{label}.{ZONE_NAME}", values, within_s)

    async def until(self, name: str, kind: str, wanted: list[str]) -> None:
        """Wait until every server answers exactly so."""
        deadline_s = time.monotonic() + WITHIN_S
        while (found := [await self._at(server, name, kind) for server in self.servers]) != [wanted] * len(found):
            assert time.monotonic() < deadline_s, f"{name} {kind}: {found}, not {wanted}"
            await asyncio.sleep(0.05)

    async def _at(self, server: Address, name: str, kind: str) -> list[str]:
        query = dns.message.make_query(f"{name}.{ZONE_NAME}".lstrip("."), kind)
        answer = await dns.asyncquery.udp(query, server[0], port=server[1], timeout=5)
        return sorted(rdata.to_text().strip('"') for rrset in answer.answer for rdata in rrset)


@dataclass(frozen=True, slots=True, kw_only=True)
class Elsewhere:
    """Name servers that run as long as this file's tests: primaries that take updates, and secondaries of ours."""

    primaries: dict[str, NameServer]
    secondaries: tuple[int, ...]
    ours: int
    """Where secondaries look for their primary."""


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Elsewhere]:
    folder, ours, at = tmp_path_factory.mktemp("servers"), free_port(), (free_port(), free_port())
    with ExitStack() as stack:
        primaries = {
            start.__name__: stack.enter_context(start(folder / start.__name__, zone=ZONE_NAME, secret=TEXT_SECRET))
            for start in (bind, knot_primary)
        }
        for secondary, port in zip((nsd_secondary, knot_secondary), at, strict=True):
            place = folder / secondary.__name__
            stack.enter_context(secondary(place, zone=ZONE_NAME, port=port, primary_port=ours, secret=TEXT_SECRET))
        yield Elsewhere(primaries=primaries, secondaries=at, ours=ours)


def update_server(server: NameServer, **changes: Any) -> UpdateServer:
    members: dict[str, Any] = {
        "host": "127.0.0.1",
        "port": server.port,
        "origin": sheet().origin,
        "key": dns.tsig.Key("otscert", SECRET, "hmac-sha256"),
    }
    return UpdateServer(**(members | changes))


def sheet(origin: str = ZONE_NAME) -> UpdateSheet:
    return UpdateSheet(ZoneSettings(origin=origin, name_servers=("ns.example.net",), contact=f"hostmaster.{origin}"))


@asynccontextmanager
async def running(*works: Callable[[], Any]) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(work()) for work in works]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def answering(port: int = 0, secondaries: Sequence[int] = ()) -> AsyncIterator[tuple[Zone, Address]]:
    """HQ's own name server, with nothing in its zone; secondaries at these ports are told of changes."""
    zone = Zone(
        ZoneSettings(
            origin=ZONE_NAME,
            name_servers=("ns.example.net",),
            contact=f"hostmaster.{ZONE_NAME}",
            first_serial=next(_SERIALS),
        )
    )
    told = [Told(secondary="s", server=(LOOPBACK, each), key=KEY) for each in secondaries]
    notifier = Notifier(zone, told, now_s=_now_s)
    transfers = Transfers(zone, Keys([KEY]), answer=zone.answer, now_s=_now_s) if secondaries else None
    server = DnsServer(zone, signed=transfers)
    await server.start(LOOPBACK, port)
    try:
        async with running(*([notifier.work] if secondaries else [])):
            yield zone, server.addresses[0]
    finally:
        await server.stop()


@asynccontextmanager
async def by_itself(_request: pytest.FixtureRequest) -> AsyncIterator[Way]:
    async with answering() as (zone, address):
        yield Way(content=InZone(zone=zone), servers=(address,))


@asynccontextmanager
async def by_secondaries(request: pytest.FixtureRequest) -> AsyncIterator[Way]:
    others = request.getfixturevalue("elsewhere")
    async with answering(others.ours, others.secondaries) as (zone, _):
        yield Way(content=InZone(zone=zone), servers=tuple((LOOPBACK, port) for port in others.secondaries))


@asynccontextmanager
async def by_a_follower(request: pytest.FixtureRequest) -> AsyncIterator[Way]:
    store = await asyncio.to_thread(PostgresStore.open, request.getfixturevalue("postgres_url"))
    signals, models = LocalSignals(), {"box": make_model()}
    async with answering() as (zone, address):
        follower = ZoneFollower(models=models, issuers=("ca",), store=store, signals=signals, zone=zone)
        await follower.load()
        async with running(follower.follow):
            yield Way(content=InStore(store=store, signals=signals), servers=(address,))
    await store.close()


@asynccontextmanager
async def by_updates(
    server: NameServer, folder: Path, boxes: Sequence[int] = (1,)
) -> AsyncIterator[tuple[Way, ZonePusher]]:
    store, signals = SqliteStore.open(folder / "hq.db", followed=True), LocalSignals()
    pusher = ZonePusher(
        models={"box": make_model()},
        issuers=("ca",),
        store=store,
        signals=signals,
        sheet=sheet(),
        server=update_server(server),
        extent=ZONE_NAME,
        updates=Tally(),
    )
    way = Way(content=InStore(store=store, signals=signals), servers=(server.address,))
    await way.content.add(boxes)
    async with running(pusher.work):
        yield way, pusher
    await store.close()


@asynccontextmanager
async def by_bind(request: pytest.FixtureRequest) -> AsyncIterator[Way]:
    server = request.getfixturevalue("elsewhere").primaries["bind"]
    async with by_updates(server, request.getfixturevalue("tmp_path")) as (way, _):
        yield way


@asynccontextmanager
async def by_knot(request: pytest.FixtureRequest) -> AsyncIterator[Way]:
    server = request.getfixturevalue("elsewhere").primaries["knot_primary"]
    async with by_updates(server, request.getfixturevalue("tmp_path")) as (way, _):
        yield way


@pytest.fixture(params=[by_itself, by_a_follower, by_secondaries, by_bind, by_knot])
async def way(request: pytest.FixtureRequest) -> AsyncIterator[Way]:
    async with request.param(request) as made:
        if request.param not in {by_bind, by_knot}:
            await made.content.add([1])
        yield made


def _now_s() -> int:
    return int(time.time())


async def test_two_values_at_once_are_served_and_dropped_again(way: Way) -> None:
    assert (await way.served([PLACEHOLDER])).served
    await way.until("label1", "A", ["192.168.1.20"])
    await way.content.put(["one", "two"])
    assert (await way.served(["one", "two"])).served
    await way.content.drop()
    assert (await way.served([PLACEHOLDER])).served
    await way.until("_acme-challenge.label1", "TXT", [PLACEHOLDER])


async def test_a_value_that_is_never_served_times_out_with_the_reason(way: Way) -> None:
    assert (await way.served([PLACEHOLDER])).served
    result = await way.served(["never"], within_s=0.3)
    assert not result.served
    assert "serves 0 of 1 TXT values" in result.reason


async def test_caa_records_and_retired_names_follow(way: Way) -> None:
    assert (await way.served([PLACEHOLDER])).served
    await way.content.set_caa(["ca.example"])
    await way.content.leave()
    await way.until("", "CAA", ['0 issue "ca.example'])
    await way.until("label1", "A", [])
    await way.until("_acme-challenge.label1", "TXT", [])


async def test_many_names_come_at_once(way: Way) -> None:
    await way.content.add(range(2, 302))
    for number in (2, 301):
        assert (await way.served([PLACEHOLDER], f"label{number}")).served


@pytest.mark.parametrize("name", ["bind", "knot_primary"])
async def test_many_labels_are_few_updates(elsewhere: Elsewhere, tmp_path: Path, name: str) -> None:
    async with by_updates(elsewhere.primaries[name], tmp_path) as (way, pusher):
        assert (await way.served([PLACEHOLDER])).served
        before = sum(pusher.updates.snapshot().values())
        await way.content.add(range(1002, 1302))
        for number in (1002, 1301):
            assert (await way.served([PLACEHOLDER], f"label{number}")).served
        assert sum(pusher.updates.snapshot().values()) - before <= 10


@pytest.mark.parametrize("name", ["bind", "knot_primary"])
async def test_what_the_server_does_not_take_is_named(elsewhere: Elsewhere, name: str) -> None:
    server = elsewhere.primaries[name]
    change = sheet().take_off("label9")
    for changes, words in (
        ({"key": dns.tsig.Key("otscert", b"another secret of 32 octets.....", "hmac-sha256")}, "BADSIG"),
        ({"key": dns.tsig.Key("other", SECRET, "hmac-sha256")}, "BADKEY"),
        ({"now_s": lambda: int(time.time()) - 4000}, "BADTIME"),
        ({"port": 1}, "cannot be reached"),
    ):
        with pytest.raises(UpdateError, match=words):
            await update_server(server, **changes).update([change])
    other = sheet("other.example")
    with pytest.raises(UpdateError, match="NOTAUTH: it is not the primary"):
        await update_server(server, origin=other.origin).update([other.take_off("label9")])


async def test_a_name_that_the_key_may_not_change_holds_up_no_other(tmp_path: Path) -> None:
    policy = f"deny otscert name label7.{ZONE_NAME} ANY; grant otscert zonesub ANY;"
    with bind(tmp_path / "bind", zone=ZONE_NAME, secret=TEXT_SECRET, policy=policy) as server:
        with pytest.raises(UpdateError, match="REFUSED: the key may not"):
            await update_server(server).update([sheet().take_off("label7")])
        async with by_updates(server, tmp_path, range(1, 41)) as (way, pusher):
            for number in (1, 6, 8, 40):
                assert (await way.served([PLACEHOLDER], f"label{number}")).served
            assert pusher.updates.snapshot()[server_shown(server), "set aside"] == 1
            assert pusher.trouble == ""
            await way.content.put(["one"])
            assert (await way.served(["one"])).served


async def test_a_server_that_is_down_slow_or_refuses_holds_up_no_other(elsewhere: Elsewhere, tmp_path: Path) -> None:
    """Four servers and one store: the last one has its changes at once, and each its own place."""
    good = elsewhere.primaries["bind"]
    silent = socket.create_server((LOOPBACK, 0))
    foreign = dns.tsig.Key("other", SECRET, "hmac-sha256")
    others = [
        update_server(good, port=free_port()),
        update_server(good, port=silent.getsockname()[1], answer_s=60.0),
        update_server(elsewhere.primaries["knot_primary"], key=foreign),
    ]
    async with by_updates(good, tmp_path) as (way, pusher):
        content = cast("InStore", way.content)
        works = [replace(pusher, server=each, sheet=sheet()) for each in others]
        async with running(*(each.work for each in works)):
            began_s = time.monotonic()
            await way.content.put(["one", "two"])
            assert (await way.served(["one", "two"])).served
            assert time.monotonic() - began_s < WITHIN_S / 2
            await troubled(works[0], "cannot be reached")
            await troubled(works[2], "BADKEY")
            places = await content.store.read(lambda t: t.zone_places.those("pushed "))
            assert {name.split(": ")[0] for name in places} == {pusher.server.shown}
    silent.close()


class _Ended(BaseException):
    """The process ends here, as by kill -9."""


class _EndsBeforeNote:
    """A store of a process that ends when it is about to note what the server took."""

    def __init__(self, store: Store) -> None:
        self.read = store.read

    async def write(self, _work: Any) -> Any:
        raise _Ended


@pytest.mark.parametrize("name", ["bind", "knot_primary"])
async def test_an_update_that_was_taken_and_not_noted_is_sent_again_without_harm(
    elsewhere: Elsewhere, tmp_path: Path, name: str
) -> None:
    async with by_updates(elsewhere.primaries[name], tmp_path) as (way, pusher):
        assert (await way.served([PLACEHOLDER])).served
        while await pusher.step() is not None:
            pass
    store, signals = SqliteStore.open(tmp_path / "hq.db", followed=True), LocalSignals()
    content = InStore(store=store, signals=signals)

    async def put_others() -> None:
        await content.drop()
        await store.write(lambda t: t.challenges.put("o1", "label1", ["three", "two"]))

    for change, wanted in (
        (partial(content.put, ["one", "two"]), ["one", "two"]),
        (put_others, ["three", "two"]),
        (content.drop, [PLACEHOLDER]),
    ):
        await change()
        ended = replace(pusher, store=cast("Any", _EndsBeforeNote(store)), _sender=None)
        with pytest.raises(_Ended):
            await ended.step()
        await way.until("_acme-challenge.label1", "TXT", wanted)
        again = replace(pusher, store=store, _sender=None)
        before = sum(again.updates.snapshot().values())
        while await again.step() is not None:
            pass
        assert sum(again.updates.snapshot().values()) == before + 1, "it is sent once more"
        await way.until("_acme-challenge.label1", "TXT", wanted)
    await store.close()


async def troubled(pusher: ZonePusher, words: str) -> None:
    deadline_s = time.monotonic() + WITHIN_S
    while words not in pusher.trouble:
        assert time.monotonic() < deadline_s, f"{pusher.trouble!r}, not {words}"
        await asyncio.sleep(0.05)


def server_shown(server: NameServer) -> str:
    return update_server(server).shown
