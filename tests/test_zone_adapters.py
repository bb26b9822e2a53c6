"""Challenges on name servers elsewhere: the same tests for each server that takes updates (RFC 2136)."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dns.message
import dns.query
import dns.tsig
import pytest
from hq.tests.store.rows import device, order

from otscert.counting import Tally
from otscert.service.signals import LocalSignals
from otscert.service.topics import ZONE
from otscert.service.zone_pushing import ZonePusher
from otscert.store.sqlite import SqliteStore
from otscert.store.transaction import Transaction
from otscert.zones.check import CheckResult, wait_until_served
from otscert.zones.errors import UpdateError
from otscert.zones.settings import ZoneSettings
from otscert.zones.update_server import UpdateServer
from otscert.zones.update_sheet import UpdateSheet
from tests.harness.hq import make_model
from tests.harness.name_servers.bind import NameServer, bind
from tests.harness.name_servers.knot_primary import knot_primary

ZONE_NAME = "boxes.example.com"
SECRET = b"a secret of thirty-two octets..."
PLACEHOLDER = "no challenge is waiting"
WITHIN_S = 20.0


@dataclass(slots=True, kw_only=True)
class Way:
    """A store, a name server that holds its zone, and what keeps it level."""

    store: SqliteStore
    server: NameServer
    pusher: ZonePusher
    signals: LocalSignals

    async def write(self, work: Any) -> None:
        await self.store.write(work)
        self.signals.publish(ZONE)

    async def served(self, values: list[str], label: str = "label1", within_s: float = WITHIN_S) -> CheckResult:
        name = f"_acme-challenge.{label}.{ZONE_NAME}"
        return await wait_until_served((self.server.address,), name, values, within_s)

    async def at(self, name: str, kind: str) -> list[str]:
        query = dns.message.make_query(f"{name}.{ZONE_NAME}".lstrip("."), kind)
        answer = await asyncio.to_thread(dns.query.udp, query, "127.0.0.1", port=self.server.port, timeout=5)
        return sorted(rdata.to_text().strip('"') for rrset in answer.answer for rdata in rrset)


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


@pytest.fixture(params=[bind, knot_primary])
async def way(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Way]:
    with request.param(tmp_path / "server", zone=ZONE_NAME, secret=base64.b64encode(SECRET).decode()) as server:
        store, signals = SqliteStore.open(tmp_path / "hq.db", followed=True), LocalSignals()
        await store.write(lambda t: t.devices.add(device()))
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
        task = asyncio.create_task(pusher.work())
        yield Way(store=store, server=server, pusher=pusher, signals=signals)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await store.close()


async def test_two_values_at_once_are_served_and_dropped_again(way: Way) -> None:
    assert (await way.served([PLACEHOLDER])).served
    assert await way.at("label1", "A") == ["192.168.1.20"]

    def put(transaction: Transaction) -> None:
        transaction.orders.add(order())
        transaction.challenges.put("o1", "label1", ["one", "two"])

    await way.write(put)
    assert (await way.served(["one", "two"])).served
    await way.write(lambda t: t.challenges.drop("o1"))
    assert (await way.served([PLACEHOLDER])).served
    assert await way.at("_acme-challenge.label1", "TXT") == [PLACEHOLDER]


async def test_many_labels_are_few_updates(way: Way) -> None:
    assert (await way.served([PLACEHOLDER])).served
    before = sum(way.pusher.updates.snapshot().values())

    def add(number: int) -> Any:
        return lambda t: t.devices.add(device(number))

    await asyncio.gather(*(way.write(add(number)) for number in range(2, 302)))
    for number in (2, 301):
        assert (await way.served([PLACEHOLDER], f"label{number}")).served
    assert sum(way.pusher.updates.snapshot().values()) - before <= 10


async def test_a_value_that_is_never_served_times_out_with_the_reason(way: Way) -> None:
    result = await way.served(["never"], within_s=0.3)
    assert not result.served
    assert "serves 0 of 1 TXT values" in result.reason or "REFUSED" in result.reason


async def test_caa_records_and_retired_names_follow(way: Way) -> None:
    assert (await way.served([PLACEHOLDER])).served
    await way.write(lambda t: t.caa.put("ca", ["ca.example"]))
    await way.write(lambda t: t.devices.leave_dns("d1"))
    deadline = asyncio.get_running_loop().time() + WITHIN_S
    while await way.at("label1", "A") or not await way.at("", "CAA"):
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.05)
    assert await way.at("", "CAA") == ['0 issue "ca.example']
    assert await way.at("_acme-challenge.label1", "TXT") == []


async def test_what_the_server_does_not_take_is_named(way: Way) -> None:
    change = sheet().take_off("label9")
    for changes, words in (
        ({"key": dns.tsig.Key("otscert", b"another secret of 32 octets.....", "hmac-sha256")}, "BADSIG"),
        ({"key": dns.tsig.Key("other", SECRET, "hmac-sha256")}, "BADKEY"),
        ({"now_s": lambda: int(time.time()) - 4000}, "BADTIME"),
        ({"port": 1}, "cannot be reached"),
    ):
        with pytest.raises(UpdateError, match=words):
            await update_server(way.server, **changes).update([change])
    other = sheet("other.example")
    with pytest.raises(UpdateError, match="NOTAUTH: it is not the primary"):
        await update_server(way.server, origin=other.origin).update([other.take_off("label9")])


async def test_a_key_that_may_not_change_the_zone_is_refused(tmp_path: Path) -> None:
    secret, policy = base64.b64encode(SECRET).decode(), f"grant nobody.{ZONE_NAME} zonesub ANY;"
    with (
        bind(tmp_path / "bind", zone=ZONE_NAME, secret=secret, policy=policy) as server,
        pytest.raises(UpdateError, match="REFUSED: the key may not"),
    ):
        await update_server(server).update([sheet().take_off("label1")])
