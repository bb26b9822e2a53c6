"""What `otscert zone check` says of servers that err, each in one way; and of CAA records, from values alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from ipaddress import IPv4Address
from typing import Any, cast

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest

from otscert.domain.admission import Naming
from otscert.domain.names import RANDOM_BYTES, make_label
from otscert.domain.zone_checks import LABEL, LONGEST_S, check_id, is_over
from otscert.ops.delegated_zone import DelegatedZone
from otscert.ops.doctor_ask import Asked, NoAnswer, SoaAnswer
from otscert.ops.doctor_delegation import judge_referral
from otscert.ops.doctor_finding import Finding
from otscert.ops.parent_zone import Referral, ask_referral
from otscert.ops.zone_check import caught_up
from otscert.ops.zone_check_caa import CaaAt, judge_caa
from otscert.ops.zone_check_fresh import check_fresh, judge_above
from otscert.ops.zone_check_server import Report, ask_all, judge_server, judge_together, mixed
from otscert.service.ports import Store

ORIGIN = "boxes.example.com"
_SOA = f"ns1.{ORIGIN}. hostmaster.{ORIGIN}. {{}} 3600 600 1209600 {{}}"
Flaw = Callable[[dns.message.Message, dns.message.Message], None]


def sound(query: dns.message.Message, serial: int = 7, minimum: int = 60) -> dns.message.Message:
    """Answers as the zone's server has to."""
    response = dns.message.make_response(query, our_payload=1232)
    response.flags |= dns.flags.AA
    name, kind = query.question[0].name, query.question[0].rdtype
    soa = _SOA.format(serial, minimum)
    if query.edns > 0:
        response.set_rcode(dns.rcode.BADVERS)
    elif kind == dns.rdatatype.AXFR:
        response.set_rcode(dns.rcode.REFUSED)
    elif name == dns.name.from_text(ORIGIN) and kind == dns.rdatatype.SOA:
        response.answer.append(dns.rrset.from_text(name, 60, "IN", "SOA", soa))
    elif name == dns.name.from_text(ORIGIN) and kind == dns.rdatatype.NS:
        response.answer.append(dns.rrset.from_text(name, 60, "IN", "NS", f"ns1.{ORIGIN}."))
    else:
        response.authority.append(dns.rrset.from_text(f"{ORIGIN}.", minimum, "IN", "SOA", soa))
        if name != dns.name.from_text(ORIGIN):
            response.set_rcode(dns.rcode.NXDOMAIN)
    return response


def _lower(_query: dns.message.Message, response: dns.message.Message) -> None:
    question = response.question[0]
    question.name = question.name.canonicalize()


def _lame(_query: dns.message.Message, response: dns.message.Message) -> None:
    response.flags &= ~dns.flags.AA


def _no_unknown(query: dns.message.Message, response: dns.message.Message) -> None:
    if query.question[0].rdtype == 65280:
        response.set_rcode(dns.rcode.NOTIMP)


def _wildcard(query: dns.message.Message, response: dns.message.Message) -> None:
    if query.question[0].rdtype == dns.rdatatype.A:
        response.set_rcode(dns.rcode.NOERROR)
        response.answer.append(dns.rrset.from_text(query.question[0].name, 60, "IN", "A", "192.168.1.1"))


def _no_soa(_query: dns.message.Message, response: dns.message.Message) -> None:
    response.authority.clear()


def _day(_query: dns.message.Message, response: dns.message.Message) -> None:
    for number, rrset in enumerate(response.authority):
        response.authority[number] = dns.rrset.from_text(rrset.name, 86400, "IN", "SOA", _SOA.format(7, 86400))


def _no_edns(_query: dns.message.Message, response: dns.message.Message) -> None:
    response.use_edns(edns=False)


def _old_badvers(query: dns.message.Message, response: dns.message.Message) -> None:
    if query.edns > 0:
        response.set_rcode(dns.rcode.NOERROR)


def _big_any(query: dns.message.Message, response: dns.message.Message) -> None:
    if query.question[0].rdtype == dns.rdatatype.ANY:
        name = query.question[0].name
        response.answer.append(dns.rrset.from_text(name, 60, "IN", "TXT", *(f'"{"x" * 200}{n}"' for n in range(4))))


def _open(query: dns.message.Message, response: dns.message.Message) -> None:
    if query.question[0].rdtype == dns.rdatatype.AXFR:
        response.set_rcode(dns.rcode.NOERROR)
        response.answer.append(dns.rrset.from_text(query.question[0].name, 60, "IN", "SOA", _SOA.format(7, 60)))


def _nothing(_query: dns.message.Message, _response: dns.message.Message) -> None:
    """Nothing is changed."""


async def probed(flaw: Flaw, *, tcp: bool = True, serial: int = 7) -> Report:
    def answer(data: bytes) -> bytes:
        query = dns.message.from_wire(data)
        response = sound(query, serial)
        flaw(query, response)
        return response.to_wire(max_size=65535)

    class Udp(asyncio.DatagramProtocol):
        def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
            self.transport = transport

        def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
            self.transport.sendto(answer(data), addr)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reply = answer(await reader.readexactly(int.from_bytes(await reader.readexactly(2))))
        writer.write(len(reply).to_bytes(2) + reply)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Udp, local_addr=("127.0.0.1", port))
    if not tcp:
        server.close()
    report = await ask_all("ns1", ("127.0.0.1", port), ORIGIN)
    transport.close()
    server.close()
    return report


def kinds(findings: list[Finding]) -> set[str]:
    return {finding.check.partition(":")[0] for finding in findings}


@pytest.mark.parametrize(
    ("flaw", "found"),
    [
        (_nothing, "zone.server"),
        (_lower, "zone.case"),
        (_lame, "zone.lame"),
        (_no_unknown, "zone.types"),
        (_wildcard, "zone.negative"),
        (_no_soa, "zone.negative"),
        (_day, "zone.negative_ttl"),
        (_no_edns, "zone.edns"),
        (_old_badvers, "zone.edns"),
        (_big_any, "zone.any"),
        (_open, "zone.transfer"),
    ],
)
def test_a_server_that_errs_in_one_way_is_told_that_and_nothing_else(flaw: Flaw, found: str) -> None:
    findings = judge_server(asyncio.run(probed(flaw)))
    assert kinds(findings) == {found}, findings
    assert all(finding.outcome == "ok" or (finding.why and finding.mend) for finding in findings)


def test_a_server_without_tcp_is_named() -> None:
    assert "zone.tcp" in kinds(judge_server(asyncio.run(probed(_nothing, tcp=False))))


def test_an_answer_to_any_that_cannot_be_written_again_is_measured_as_it_came() -> None:
    report = asyncio.run(probed(_nothing))
    query = dns.message.make_query(".".join(["a" * 63, "b" * 63, "c" * 63, "d" * 55]), dns.rdatatype.ANY).to_wire()
    # SRV records whose targets are pointers: dnspython writes such names in full.
    srv = b"\xc0\x0c\0\x21\0\1\0\0\0\x3c\0\x08" + bytes(4)
    records = b"".join(srv + number.to_bytes(2) + b"\xc0\x0c" for number in range(3000))
    answer = query[:2] + b"\x84\0\0\1\x0b\xb8\0\0\0\0" + query[12:] + records
    assert "zone.any" in kinds(judge_server(replace(report, any_type=dns.message.from_wire(answer))))


def test_a_parent_with_an_address_of_another_class_is_read_all_the_same() -> None:
    class Parent(asyncio.DatagramProtocol):
        def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
            self.transport = transport

        def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
            # One A record of class HS in the place of the OPT record.
            glue = b"\xc0\x0c\0\1\0\4\0\0\0\x3c\0\4\x7f\0\0\1"
            self.transport.sendto(data[:2] + b"\x80\0\0\1\0\0\0\0\0\1" + data[12:-11] + glue, addr)

    async def asked() -> Referral:
        endpoint = asyncio.get_running_loop().create_datagram_endpoint(Parent, local_addr=("127.0.0.1", 0))
        transport, _ = await endpoint
        try:
            return await ask_referral(transport.get_extra_info("sockname"), "example.com", ORIGIN)
        finally:
            transport.close()

    assert asyncio.run(asked()).glue == frozenset()


def test_a_server_that_is_behind_and_one_with_other_name_servers_are_named() -> None:
    reports = [asyncio.run(probed(_nothing, serial=serial)) for serial in (2**32 - 1, 3)]
    serials = [2**32 - 1, 3]  # 3 comes after 2**32 - 1 (RFC 1982)
    judge = partial(judge_together, source="zone.name_servers", catch_up="look at NOTIFY")
    found = list(judge(reports, name_servers=[f"ns1.{ORIGIN}"], serials=serials))
    assert [(finding.check, finding.mend) for finding in found] == [
        (f"zone.serial:{reports[0].name}", "look at NOTIFY")
    ]
    found = list(judge(reports[:1], name_servers=["ns2.example.net"], serials=serials[:1]))
    assert kinds(found) == {"zone.name_servers"}


def test_a_server_that_has_caught_up_past_the_end_of_numbers_is_not_behind() -> None:
    serials = [2**32 - 1, 3, 3]  # 3 comes after 2**32 - 1 (RFC 1982)
    said = SoaAnswer(asked=Asked.AUTHORITATIVE, serial=4)
    assert caught_up(serials, [said, said, said]) == [3, 3, 3]
    still = SoaAnswer(asked=Asked.AUTHORITATIVE, serial=2**32 - 1)
    assert caught_up(serials, [still, said, SoaAnswer(asked=Asked.NOTHING)]) == [2**32 - 1, 3, 3]


NS1, NS2, NS3 = (f"ns{number}.{ORIGIN}" for number in (1, 2, 3))
MEANT = DelegatedZone(
    origin=ORIGIN,
    name_servers=(NS1, NS2),
    server_addresses={NS1: (IPv4Address("192.0.2.1"),), NS2: (IPv4Address("192.0.2.2"),)},
    more_servers=(),
    setting="zone.check_servers",
)
GLUE = frozenset({(NS1, "192.0.2.1"), (NS2, "192.0.2.2")})
WRONG = frozenset({(NS1, "192.0.2.9"), (NS2, "192.0.2.2")})
ELSEWHERE = replace(MEANT, name_servers=(), server_addresses={}, elsewhere=True)


@pytest.mark.parametrize(
    ("zone", "servers", "glue", "expected"),
    [
        (MEANT, (NS1, NS2), GLUE, {"dns.delegation": ""}),
        (MEANT, (), GLUE, {"dns.delegation": "nobody finds a box"}),
        (MEANT, (NS3,), GLUE, {"dns.delegation": "nobody finds a box"}),
        (MEANT, (NS1,), GLUE, {"dns.delegation": f"nobody is sent to {NS2}"}),
        (MEANT, (NS1, NS2, NS3), GLUE, {"dns.delegation": f"who is sent to {NS3} may get an error"}),
        (MEANT, (NS1,), WRONG, {"dns.delegation": f"nobody is sent to {NS2}", "dns.glue": "nobody finds a box"}),
        (MEANT, (NS1, NS2), WRONG, {"dns.delegation": "", "dns.glue": "who is sent to a wrong address waits"}),
        (MEANT, (NS1, NS2), frozenset(), {"dns.delegation": "", "dns.glue": "nobody finds a box"}),
        (ELSEWHERE, (NS1, "ns.example.net"), GLUE, {"dns.delegation": ""}),
        (ELSEWHERE, (NS3,), GLUE, {"dns.delegation": "", "dns.glue": "nobody can look it up"}),
        (ELSEWHERE, (), GLUE, {"dns.delegation": "nobody finds a box"}),
    ],
)
def test_a_delegation_is_compared_whole_and_says_who_is_not_found(
    zone: DelegatedZone, servers: tuple[str, ...], glue: frozenset[tuple[str, str]], expected: dict[str, str]
) -> None:
    referral = Referral(parent="example.com", servers=frozenset(servers), glue=glue)
    found = {finding.check: finding.why for finding in judge_referral(zone, referral)}
    assert found.keys() == expected.keys()
    assert all(found[check].find(why) >= 0 and bool(why) == bool(found[check]) for check, why in expected.items()), (
        found
    )


class Kept:
    """A store of one value."""

    def __init__(self) -> None:
        self.values: list[str] = []
        self.challenges = self

    def sweep_checks(self, *, now_s: int) -> None:
        assert now_s > 0

    def put(self, _row_id: str, _label: str, values: list[str]) -> None:
        self.values = list(values)

    def drop(self, _row_id: str) -> None:
        self.values = []

    async def write(self, work: Callable[[Any], None]) -> None:
        work(self)


@pytest.mark.parametrize(
    ("alias", "late"),
    [(f"_acme-challenge.{LABEL}.acme.example.com.", ""), ("elsewhere.example.", "zone.alias"), ("", "zone.alias")],
)
def test_a_fresh_challenge_is_seen_only_when_the_boxes_servers_lead_to_it(alias: str, late: str) -> None:
    kept = Kept()

    class Both(asyncio.DatagramProtocol):
        def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
            self.transport = transport

        def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
            response = dns.message.make_response(dns.message.from_wire(data))
            response.flags |= dns.flags.AA
            name, kind = response.question[0].name, response.question[0].rdtype
            if kind == dns.rdatatype.CNAME and alias:
                response.answer.append(dns.rrset.from_text(name, 60, "IN", "CNAME", alias))
            if kind == dns.rdatatype.TXT and name.to_text().endswith(".acme.example.com."):
                response.answer.append(dns.rrset.from_text(name, 60, "IN", "TXT", *kept.values))
            self.transport.sendto(response.to_wire(), addr)

    async def run() -> tuple[str, list[Finding]]:
        endpoint = asyncio.get_running_loop().create_datagram_endpoint(Both, local_addr=("127.0.0.1", 0))
        transport, _ = await endpoint
        try:
            server = transport.get_extra_info("sockname")
            challenges = replace(MEANT, origin="acme.example.com", prefix="challenges.")
            places = [(ELSEWHERE, {server: "ns1"}), (challenges, {server: "updates.challenge_servers"})]
            checked = check_fresh(cast("Store", kept), places, limit_s=0.2)
            return f"ns1 at 127.0.0.1:{server[1]}", [finding async for finding in checked]
        finally:
            transport.close()

    name, found = asyncio.run(run())
    assert kept.values == []
    if late:
        assert [finding.check for finding in found] == [f"{late}:{name}"]
        assert "updates.servers" in found[0].mend
        assert "NOTIFY" not in found[0].mend
    else:
        assert [(finding.check, finding.outcome) for finding in found] == [("zone.fresh", "ok")], found
        assert "every name server of acme.example.com (1), and its alias at every one of boxes" in found[0].what


OURS = "letsencrypt.org;validationmethods=dns-01;accounturi=https://ca/1"
ABOVE = CaaAt(name="example.com")


def at(name: str, *properties: tuple[str, str]) -> CaaAt:
    return CaaAt(name=name, properties=properties)


@pytest.mark.parametrize(
    ("chain", "expected"),
    [
        ([at(ORIGIN, ("issue", OURS)), ABOVE], {("zone.caa.issue", "ok")}),
        ([at(ORIGIN), at("example.com")], {("zone.caa", "warning")}),
        (
            [at(ORIGIN, ("issue", OURS.replace("/1", "/2"))), ABOVE],
            {("zone.caa.le", "failed"), ("zone.caa.others", "warning")},
        ),
        ([at(ORIGIN, ("issue", OURS), ("issue", "other.example")), ABOVE], {("zone.caa.others", "warning")}),
        (
            [at(ORIGIN), at("example.com", ("issue", "other.example"))],
            {("zone.caa.le", "failed"), ("zone.caa.issue", "ok")},
        ),
        ([at(ORIGIN), at("example.com", ("issue", "letsencrypt.org"))], {("zone.caa.issue", "ok")}),
        (
            [at(ORIGIN, ("issue", OURS), ("issuewild", ";")), ABOVE],
            {("zone.caa.issue", "ok"), ("zone.caa.le", "failed"), ("zone.caa.others", "warning")},
        ),
        ([CaaAt(name=ORIGIN, problem="SERVFAIL"), ABOVE], {("zone.caa.error", "failed"), ("zone.caa", "warning")}),
        ([CaaAt(name=ORIGIN, problem="time"), CaaAt(name="com", problem="time")], {("zone.caa", "cannot tell")}),
    ],
)
def test_caa_records_are_judged_as_a_ca_climbs_them(chain: list[CaaAt], expected: set[tuple[str, str]]) -> None:
    found = judge_caa(chain, origin=ORIGIN, wanted={"le": [OURS]})
    assert {(finding.check, finding.outcome.value) for finding in found} == expected


def test_the_label_of_checks_is_no_boxs() -> None:
    for naming in Naming:
        for first in range(256):
            label = make_label(naming, bytes([first]) * RANDOM_BYTES)
            assert label != LABEL
            assert len(label) == 16 or len(label.rpartition("-")[2]) == 4
    assert len(LABEL) != 16
    assert len(LABEL.rpartition("-")[2]) != 4


def test_a_check_is_over_after_its_time_or_when_a_clock_was_ahead_and_an_order_never() -> None:
    row = check_id(now_s=10_000, randomness="x")
    assert not is_over(row, now_s=10_000 + LONGEST_S)
    assert is_over(row, now_s=10_001 + LONGEST_S)
    assert is_over(row, now_s=9_999 - LONGEST_S)
    assert not is_over("o1", now_s=10**9)


@pytest.mark.parametrize("name", ["4boxes.example.com", "ab", "x1-none.boxes.example.com"])
def test_capitals_are_mixed_in(name: str) -> None:
    text = mixed(name)
    assert text.lower() == name
    assert text not in (name, name.upper())


@pytest.mark.parametrize(
    ("rcode", "found"), [(dns.rcode.NOERROR, set()), (dns.rcode.NXDOMAIN, {"zone.above"}), (None, set())]
)
def test_a_server_that_denies_an_empty_name_above_a_challenge_is_named(
    rcode: dns.rcode.Rcode | None, found: set[str]
) -> None:
    above = f"{LABEL}.{ORIGIN}"
    said: dns.message.Message | NoAnswer = NoAnswer("silent")
    if rcode is not None:
        said = sound(dns.message.make_query(above, "A"))
        said.set_rcode(rcode)
    assert {finding.check.partition(":")[0] for finding in judge_above(said, name="ns1", above=above)} == found
