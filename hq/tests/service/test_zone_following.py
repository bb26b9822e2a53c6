"""A zone that is filled from rows alone: whatever another process writes is answered here, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from ipaddress import ip_address
from typing import Any

import dns.message
import dns.rcode
import pytest
from hq.tests.store.rows import device, order

from otscert.domain.device import DeviceState
from otscert.service.shared_signals import SharedSignals
from otscert.service.signals import LocalSignals
from otscert.service.topics import DUE, HERE, ZONE
from otscert.service.zone_following import ZoneElsewhere, ZoneFollower
from otscert.store import zone_changes
from otscert.store.postgresql import PostgresStore
from otscert.store.transaction import Transaction
from otscert.zones.settings import ZoneSettings
from otscert.zones.zone import Zone
from tests.harness.hq import make_model
from tests.harness.postgresql import PostgresServer

ORIGIN = "boxes.example.com"
MODELS = {"box": make_model()}
Work = Callable[[Transaction], Any]


@dataclass(slots=True, kw_only=True)
class Followed:
    """Another process's store, and the zone of this one, which `writes` brings up to date."""

    store: PostgresStore
    follower: ZoneFollower
    zone: Zone

    async def writes(self, work: Work) -> Any:
        result = await self.store.write(work)
        while await self.follower.catch_up():
            pass
        return result

    def at(self, name: str, kind: str = "A") -> list[str] | None:
        """What the zone answers; None: there is no such name."""
        answer = self.zone.answer(dns.message.make_query(f"{name}.{ORIGIN}", kind).to_wire(), size_limit=None)
        assert answer is not None
        message = dns.message.from_wire(answer)
        if message.rcode() == dns.rcode.NXDOMAIN:
            return None
        return sorted(rdata.to_text().strip('"') for rrset in message.answer for rdata in rrset)

    def challenges(self) -> list[str] | None:
        return self.at("_acme-challenge.label1", "TXT")


@pytest.fixture
async def followed(postgres_url: str) -> AsyncIterator[Followed]:
    store = await asyncio.to_thread(PostgresStore.open, postgres_url)
    zone = Zone(ZoneSettings(origin=ORIGIN, name_servers=("ns.example.net",), contact=f"hostmaster.{ORIGIN}"))
    follower = ZoneFollower(models=MODELS, issuers=("ca",), store=store, signals=LocalSignals(), zone=zone)
    await follower.load()
    yield Followed(store=store, follower=follower, zone=zone)
    await store.close()


async def test_names_come_change_go_and_come_back(followed: Followed) -> None:
    one = device(addresses=("192.168.1.20",))
    assert followed.at("label1") is None
    await followed.writes(lambda t: t.devices.add(one))
    assert followed.at("label1") == ["192.168.1.20"]
    moved = replace(one, addresses=("192.168.1.21",))
    await followed.writes(lambda t: t.devices.save(moved, seen_token_hash=one.ratchet.token_hash))
    assert followed.at("label1") == ["192.168.1.21"]
    await followed.writes(lambda t: t.devices.leave_dns("d1"))
    assert followed.at("label1") is None
    await followed.writes(lambda t: t.devices.seen("d1", now_s=1))
    assert followed.at("label1") == ["192.168.1.21"]
    await followed.writes(lambda t: t.devices.set_state("d1", DeviceState.RETIRED))
    assert followed.at("label1") is None


async def test_challenges_are_those_that_are_stored(followed: Followed) -> None:
    def begin(transaction: Transaction) -> None:
        transaction.devices.add(device())
        for number in (1, 2):
            transaction.orders.add(order(number))
            transaction.challenges.put(f"o{number}", "label1", ["both", f"value{number}"])

    await followed.writes(begin)
    assert followed.challenges() == ["both", "value1", "value2"]
    await followed.writes(lambda t: t.challenges.drop("o1"))
    assert followed.challenges() == ["both", "value2"]
    await followed.writes(lambda t: t.challenges.drop_of("label1"))
    assert followed.challenges() == ["no challenge is waiting"]


async def test_caa_records_of_the_configured_issuers_stand(followed: Followed) -> None:
    await followed.writes(lambda t: t.caa.put("ca", ["ca.example"]))
    await followed.writes(lambda t: t.caa.put("gone", ["gone.example"]))
    answer = followed.zone.answer(dns.message.make_query(ORIGIN, "CAA").to_wire(), size_limit=None)
    assert answer is not None
    assert [rdata.to_text() for rrset in dns.message.from_wire(answer).answer for rdata in rrset] == [
        '0 issue "ca.example"'
    ]


async def test_what_is_undone_or_says_nothing_new_is_not_followed(followed: Followed) -> None:
    await followed.writes(lambda t: t.devices.add(device()))
    last = await followed.store.read(lambda t: t.zone_changes.last())

    def fail(transaction: Transaction) -> None:
        transaction.challenges.put("o1", "label1", ["value"])
        raise LookupError

    with pytest.raises(LookupError):
        await followed.store.write(fail)
    await followed.writes(lambda t: t.devices.save(device(), seen_token_hash=device().ratchet.token_hash))
    await followed.writes(lambda t: t.devices.seen("d1", now_s=5))
    assert await followed.store.read(lambda t: t.zone_changes.last()) == last
    assert followed.challenges() == ["no challenge is waiting"]


async def test_who_fell_too_far_behind_loads_the_zone_anew(followed: Followed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zone_changes, "KEPT", 2)
    for number in (1, 2, 3, 4):
        await followed.store.write(partial(_add, number=number))
    assert await followed.store.write(lambda t: t.zone_changes.sweep()) == 2
    await followed.follower.catch_up()
    assert all(followed.at(f"label{number}") for number in (1, 2, 3, 4))


async def test_a_use_case_tells_of_its_change_and_judges_addresses() -> None:
    signals = LocalSignals()
    zone = ZoneElsewhere(signals=signals)
    model = MODELS["box"]
    with signals.listen(ZONE) as heard:
        refused = zone.activate("label1", [ip_address("8.8.8.8")], model.addresses)
        async with asyncio.timeout(5):
            await heard(60)
    assert [verdict.allowed for verdict in refused] == [False]


def _add(transaction: Transaction, *, number: int) -> None:
    transaction.devices.add(device(number))


@asynccontextmanager
async def signals_of(url: str) -> AsyncIterator[SharedSignals]:
    signals = SharedSignals(url)
    task = asyncio.create_task(signals.work())
    try:
        yield signals
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until_heard(heard: Callable[[float], Any], say: Callable[[], None]) -> None:
    """Say it until it is heard: connections take their time, and a signal may be lost."""
    listening = asyncio.create_task(heard(60))
    async with asyncio.timeout(20):
        while not listening.done():
            say()
            await asyncio.wait({listening}, timeout=0.05)


async def test_a_signal_reaches_the_other_process_also_after_the_server_ended_its_sessions(
    postgres: PostgresServer, postgres_url: str
) -> None:
    async with signals_of(postgres_url) as one, signals_of(postgres_url) as other:
        with other.listen(DUE) as heard, other.listen(f"{HERE}mine") as heard_mine:
            await until_heard(heard, lambda: one.publish(DUE))
            async with asyncio.timeout(5):
                await heard_mine(60)  # a connection that is made lets everybody look
            await asyncio.to_thread(
                postgres.admin,
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'otscert signals%'",
            )
            await until_heard(heard, lambda: one.publish(DUE))
            async with asyncio.timeout(5):
                await heard_mine(60)  # whoever was cut off lets everybody look
            one.publish(f"{HERE}mine")
            one.publish(DUE)
            await heard(5)
            began_s = asyncio.get_running_loop().time()
            await heard_mine(0.2)
            assert asyncio.get_running_loop().time() - began_s > 0.15  # what concerns one process stays there
