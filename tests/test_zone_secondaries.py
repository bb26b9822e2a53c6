"""NSD and Knot as secondaries of HQ: they soon answer what the zone holds, also when no journal can tell it."""

from __future__ import annotations

import asyncio
import base64
import os
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

import dns.asyncquery
import dns.exception
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype
import dns.tsig
import dns.xfr
import dns.zone
import pytest

from otscert.domain.addresses import DEFAULT_POLICY
from otscert.zones.check import wait_until_served
from otscert.zones.notify import Notifier, Told
from otscert.zones.server import DnsServer
from otscert.zones.settings import ZoneSettings
from otscert.zones.transfer import Transfers
from otscert.zones.tsig import Keys, Signer, TsigKey, made
from otscert.zones.zone import Zone
from tests.harness.name_servers.knot import knot_secondary
from tests.harness.name_servers.nsd import nsd_secondary
from tests.harness.ports import LOOPBACK, free_port

ZONE = "boxes.example.com"
KEY = TsigKey(name="otscert", algorithm="hmac-sha256", secret=b"secret of thirty-two octets, ok!")
SECRET = base64.b64encode(KEY.secret).decode()
WITHIN_S = 15.0
CHANGES = int(os.environ.get("OTSCERT_TEST_CHANGES", "5"))


@dataclass(slots=True, kw_only=True)
class Primary:
    zone: Zone
    port: int
    notifier: Notifier


def now_s() -> int:
    return int(time.time())


@asynccontextmanager
async def primary(
    port: int, servers: tuple[int, ...] = (), *, first_serial: int = 7, rate_limit_per_s: int = 0
) -> AsyncIterator[Primary]:
    zone = Zone(
        ZoneSettings(
            origin=ZONE,
            name_servers=("ns1.example.net", "ns2.example.net"),
            contact="hostmaster.example.com",
            first_serial=first_serial,
        )
    )
    zone.load([("one", [ip_address("192.168.1.20")], DEFAULT_POLICY)], [])
    notifier = Notifier(zone, [Told(secondary="s", server=(LOOPBACK, each), key=KEY) for each in servers], now_s=now_s)
    signed = Transfers(zone, Keys([KEY]), answer=zone.answer, now_s=now_s)
    server = DnsServer(zone, signed=signed, rate_limit_per_s=rate_limit_per_s)
    await server.start(LOOPBACK, port)
    work = asyncio.create_task(notifier.work())
    try:
        yield Primary(zone=zone, port=server.addresses[0][1], notifier=notifier)
    finally:
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        await server.stop()


async def asked(port: int, name: str, rtype: str = "A") -> list[str] | None:
    """What a server answers; None: no such name, or nothing useful."""
    try:
        query = dns.message.make_query(f"{name}.{ZONE}" if name else ZONE, rtype)
        answer = await dns.asyncquery.udp(query, LOOPBACK, port=port, timeout=1)
    except (OSError, dns.exception.DNSException):
        return None
    if answer.rcode() != dns.rcode.NOERROR:
        return None
    return sorted(rdata.to_text() for rrset in answer.answer for rdata in rrset)


async def until(ports: tuple[int, ...], name: str, rtype: str, wanted: list[str] | None) -> float:
    """Wait until all of them answer so; returns after how many seconds."""
    begin_s = time.monotonic()
    while [await asked(port, name, rtype) for port in ports] != [wanted] * len(ports):
        found = [await asked(port, name, rtype) for port in ports]
        assert time.monotonic() < begin_s + WITHIN_S, f"{name} {rtype}: {found}, not {wanted}"
        await asyncio.sleep(0.02)
    return time.monotonic() - begin_s


async def test_nsd_and_knot_follow_every_change_and_a_restart(tmp_path: Path) -> None:
    ours, nsd, knot = free_port(), free_port(), free_port()
    both = (nsd, knot)
    name = f"_acme-challenge.one.{ZONE}"
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(primary(ours, both, rate_limit_per_s=2))
        logs = []
        for start, port in ((nsd_secondary, nsd), (knot_secondary, knot)):
            context = start(tmp_path / start.__name__, zone=ZONE, port=port, primary_port=ours, secret=SECRET)
            logs.append(await asyncio.to_thread(context.__enter__))
            stack.callback(context.__exit__, None, None, None)
        await until(both, "one", "A", ["192.168.1.20"])
        servers = [(LOOPBACK, port) for port in both]
        early = await wait_until_served(servers, name, ["a", "b"], 0.1)
        assert not early.served
        first.zone.put_txt("one", "a")
        first.zone.put_txt("one", "b")
        assert (await wait_until_served(servers, name, ["a", "b"], WITHIN_S)).served
        took_s = []
        for number in range(CHANGES):
            _ask_in_their_name(ours)
            first.zone.set_txt("one", [f"value {number}"])
            took_s.append(await until(both, "_acme-challenge.one", "TXT", [f'"value {number}"']))
        took_s.sort()
        figures = f"p50 {took_s[CHANGES // 2]:.3f} s, p99 {took_s[CHANGES * 99 // 100]:.3f} s"
        sys.stdout.write(f"{CHANGES} changes until every secondary answers: {figures}\n")
        assert took_s[-1] < 5
        assert first.zone.counters.limited > CHANGES, "who asks in their name uses up what their network gets over UDP"
        first.zone.set_txt("one", ["b"])
        await until(both, "_acme-challenge.one", "TXT", ['"b"'])
        first.zone.set_caa(["ca.example"])
        await until(both, "", "CAA", ['0 issue "ca.example"'])
        first.zone.activate("two", [ip_address("192.168.1.21")], DEFAULT_POLICY)
        await until(both, "two", "A", ["192.168.1.21"])
        first.zone.withdraw("two")
        await until(both, "two", "A", None)
        serial = first.zone.serial
        assert "IXFR" in logs[1].read_text()
        assert await asked(knot, "192-168-1-20.one") == ["192.168.1.20"]
        await _whole_again(first, serial, both)
    assert all("error" not in log.read_text().lower().replace("no error", "") for log in logs)


def _ask_in_their_name(port: int) -> None:
    wrong = TsigKey(name=KEY.name, algorithm=KEY.algorithm, secret=bytes(32))
    query = Signer(made(wrong), b"").sign(dns.message.make_query(ZONE, "SOA").to_wire(), now_s=now_s())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        for _ in range(20):
            stranger.sendto(query, (LOOPBACK, port))


async def _whole_again(first: Primary, serial: int, both: tuple[int, ...]) -> None:
    """Filled anew, as after a restart of HQ: no journal leads there."""
    first.zone.load([("three", [ip_address("192.168.1.23")], DEFAULT_POLICY)], [])
    await until(both, "three", "A", ["192.168.1.23"])
    await until(both, "one", "A", None)
    assert first.zone.serial > serial
    assert {told.acknowledged for told in first.notifier.servers} == {first.zone.serial}


@pytest.mark.parametrize(
    ("key", "error"),
    [
        (dns.tsig.Key("otscert", b"another secret of many octets"), dns.tsig.PeerBadSignature),
        (dns.tsig.Key("stranger", KEY.secret), dns.tsig.PeerBadKey),
        (dns.tsig.Key("otscert", KEY.secret, "hmac-sha512"), dns.tsig.PeerBadKey),
    ],
)
async def test_a_wrong_key_transfers_nothing(key: dns.tsig.Key, error: type[Exception]) -> None:
    async with primary(0) as server:
        query = dns.message.make_query(ZONE, "AXFR")
        query.use_tsig({key.name: key}, keyname=key.name, algorithm=key.algorithm)
        with pytest.raises(error):
            await dns.asyncquery.tcp(query, LOOPBACK, port=server.port, timeout=5)


async def test_a_stranger_is_refused_over_udp_and_tcp() -> None:
    async with primary(0) as server:
        for rtype in ("AXFR", "IXFR"):
            for ask in (dns.asyncquery.tcp, dns.asyncquery.udp):
                query = dns.message.make_query(ZONE, rtype)
                answer = await ask(query, LOOPBACK, port=server.port, timeout=5)
                assert (answer.rcode(), answer.answer) == (dns.rcode.REFUSED, [])


async def test_a_wrong_time_is_answered_with_ours_and_signed() -> None:
    async with primary(0) as server:
        query = dns.message.make_query(ZONE, "SOA").to_wire()
        octets = Signer(made(KEY), b"").sign(query, now_s=now_s() - 1000)
        reader, writer = await asyncio.open_connection(LOOPBACK, server.port)
        writer.write(len(octets).to_bytes(2) + octets)
        size = int.from_bytes(await reader.readexactly(2))
        reply = await reader.readexactly(size)
        writer.close()
    rcode, error = reply[3] & 15, int.from_bytes(reply[-10:-8])
    assert (rcode, error, int.from_bytes(reply[-8:-6])) == (9, 18, 6)
    assert abs(int.from_bytes(reply[-6:]) - now_s()) < 60


async def test_a_large_zone_arrives_whole_while_it_changes() -> None:
    async with primary(0) as server:
        boxes = [(f"b{number}", [ip_address("10.0.0.1")], DEFAULT_POLICY) for number in range(3000)]
        server.zone.load(boxes, [])
        serial = server.zone.serial
        query = dns.message.make_query(ZONE, "AXFR")
        key = dns.tsig.Key("otscert", KEY.secret)
        query.use_tsig({key.name: key}, keyname=key.name)
        into = dns.zone.Zone(ZONE)
        transfer = asyncio.create_task(
            dns.asyncquery.inbound_xfr(LOOPBACK, into, query=query, port=server.port, timeout=10)
        )
        for number in range(2900, 3000):
            server.zone.withdraw(f"b{number}")
            await asyncio.sleep(0)
        await transfer
        soa = into.find_rdataset("@", "SOA")[0]
        # What it has is the zone of one serial: those that went before it are gone, the others are there.
        gone = soa.serial - serial
        assert [f"b{number}" for number in range(3000) if into.get_node(f"b{number}") is None] == [
            f"b{number}" for number in range(2900, 2900 + gone)
        ]
        server.zone.activate("late", [ip_address("10.0.0.9")], DEFAULT_POLICY)
        query, _ = dns.xfr.make_query(into, serial=soa.serial, keyring={key.name: key}, keyname=key.name)
        assert query.question[0].rdtype == dns.rdatatype.IXFR
        await dns.asyncquery.inbound_xfr(LOOPBACK, into, port=server.port, timeout=10, query=query)
        assert into.find_rdataset("@", "SOA")[0].serial == server.zone.serial
        assert into.get_node("late") is not None
        assert into.get_node("b2999") is None
