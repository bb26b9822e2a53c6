"""The zone that holds challenges alone, and the question whether another zone's name is an alias into it."""

from __future__ import annotations

from ipaddress import ip_address

import dns.message

from otscert.domain.addresses import DEFAULT_POLICY
from otscert.roles.worker import ServersOfBothZones
from otscert.zones.challenge_zone import ChallengeZone
from otscert.zones.check import wait_until_alias
from otscert.zones.server import DnsServer
from otscert.zones.settings import ZoneSettings

ADDRESSES = [ip_address("192.168.1.20"), ip_address("8.8.8.8")]


def challenges() -> ChallengeZone:
    settings = ZoneSettings(origin="acme.example.com", name_servers=("ns.example.net",), contact="x.example.com")
    return ChallengeZone(settings)


def answered(zone: ChallengeZone, name: str, rtype: str) -> tuple[int, list[str]]:
    query = dns.message.make_query(f"{name}.acme.example.com".lstrip("."), rtype)
    reply = zone.answer(query.to_wire(), size_limit=None)
    assert reply is not None
    answer = dns.message.from_wire(reply)
    return answer.rcode(), [rdata.to_text() for rrset in answer.answer for rdata in rrset]


def test_a_box_is_a_name_without_addresses_and_has_its_challenges() -> None:
    zone, other = challenges(), challenges()
    refused = zone.activate("one", ADDRESSES, DEFAULT_POLICY)
    other.load([("one", "192.168.1.20", DEFAULT_POLICY)], [("one", "v")])
    zone.set_caa(["ca.example"])
    zone.set_persist(["ca.example"])
    assert [verdict.allowed for verdict in refused] == [False]
    assert answered(zone, "_acme-challenge.one", "TXT") == (0, ['"no challenge is waiting"'])
    assert answered(other, "_acme-challenge.one", "TXT") == (0, ['"v"'])
    for each in (zone, other):
        assert answered(each, "one", "A") == (0, [])
        assert answered(each, "", "CAA") == (0, [])
        for name in ("192-168-1-20.one", "_validation-persist.one", "two"):
            assert answered(each, name, "A") == (3, [])


async def test_an_alias_that_is_missing_is_named() -> None:
    zone = challenges()
    server = DnsServer(zone)
    await server.start("127.0.0.1", 0)
    try:
        name = "_acme-challenge.one.acme.example.com"
        missing = await wait_until_alias(server.addresses, name, "there.example", 0.05)
        other = await wait_until_alias(server.addresses, "one.example.org", "there.example", 0.05)
    finally:
        await server.stop()
    assert not missing.served
    assert "as an alias of there.example: there is no CNAME" in missing.reason
    assert not other.served
    assert "REFUSED: it does not serve the zone" in other.reason


async def test_no_ca_is_told_before_both_zones_have_their_part() -> None:
    zone = challenges()
    zone.activate("one", ADDRESSES, DEFAULT_POLICY)
    server = DnsServer(zone)
    await server.start("127.0.0.1", 0)
    try:
        asked = ServersOfBothZones(
            zone="boxes.example.com",
            servers=server.addresses,
            challenge_zone="acme.example.com",
            challenge_servers=server.addresses,
            deadline_s=0.05,
        )
        name = "_acme-challenge.one.boxes.example.com"
        neither = await asked.wait_until_served(name, ["v"])
        zone.put_txt("one", "v")
        no_alias = await asked.wait_until_served(name, ["v"])
    finally:
        await server.stop()
    assert neither is not None
    assert "REFUSED" in neither
    assert "serves 0 of 1 TXT values at _acme-challenge.one.acme.example.com" in neither
    assert no_alias is not None
    assert "REFUSED" in no_alias
    assert "TXT values" not in no_alias
