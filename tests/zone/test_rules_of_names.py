"""What stands at names and what does not (RFC 1034, 2308, 3597, 7505, 8020, 8482, 8657, 8659), and what is refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.zone.conftest import Ask
from tests.zone.reply import Reply
from tests.zone.rules import rule
from tests.zone.served import CAA, ORIGIN, Served

NEGATIVE_TTL_S = 60


@rule(2308, "2.1", "NXDOMAIN carries the SOA in its authority section")
@rule(2308, "3", "the SOA's TTL there is the lesser of its own and its MINIMUM")
def test_nxdomain_carries_the_soa(ask: Ask) -> None:
    reply = ask("unknown", edns=0)
    assert (reply.rcode, reply.answer, len(reply.authority)) == ("NXDOMAIN", (), 1)
    _negative(reply)


@rule(2308, "2.2", "NODATA is NOERROR, no answer, and the SOA")
@rule(2308, "3", "the same of NODATA")
def test_nodata_carries_the_soa(ask: Ask) -> None:
    reply = ask("four", "AAAA")
    assert (reply.rcode, reply.answer, len(reply.authority)) == ("NOERROR", (), 1)
    _negative(reply)


def _negative(reply: Reply) -> None:
    assert reply.soa is not None
    assert reply.soa.name == f"{ORIGIN}."
    assert reply.soa.ttl_s == NEGATIVE_TTL_S
    assert reply.soa.data.split()[-1] == str(NEGATIVE_TTL_S)


@rule(2308, "4", "the MINIMUM is the time for which a name may be taken to be absent: at most a minute here")
@rule(1035, "3.3.13", "the SOA has server, contact, serial and four times")
def test_the_soa_at_the_top(ask: Ask) -> None:
    reply = ask("", "SOA")
    (soa,) = reply.answer
    server, contact, _, *times = soa.data.split()
    assert (server, contact) == (f"ns1.{ORIGIN}.", f"hostmaster.{ORIGIN}.")
    assert times == ["3600", "600", "1209600", str(NEGATIVE_TTL_S)]
    assert reply.authority == ()


@rule(1034, "4.2.1", "the top has the name servers")
@rule(2181, "10.3", "a name server's name has addresses of its own")
def test_the_name_servers_stand_at_the_top_and_have_addresses(ask: Ask) -> None:
    names = ask("", "NS").data("NS")
    assert names == {f"ns1.{ORIGIN}.", f"ns2.dns.{ORIGIN}.", "ns.example.net."}
    assert ask("ns1", "A").data("A") == {"192.0.2.1"}
    assert ask("ns1", "AAAA").data("AAAA") == {"2001:db8::1"}


@rule(1034, "4.3.2", "no name of the zone is delegated: nothing is answered with a referral")
def test_nothing_is_a_referral(ask: Ask) -> None:
    for name, rtype in (("both", "NS"), ("unknown", "NS"), ("dns", "NS"), ("a.b.c", "A")):
        reply = ask(name, rtype)
        assert "aa" in reply.flags
        assert {record.rtype for record in reply.authority} == {"SOA"}


@rule(1034, "4.3.1", "a name outside the zone is refused, with no upward referral")
@pytest.mark.parametrize("name", ["example.org.", "com.", ".", "example.com.", "xboxes.example.com."])
def test_a_name_outside_the_zone_is_refused_and_nothing_is_said(ask: Ask, name: str) -> None:
    reply = ask(name, "NS" if name == "." else "A", edns=0)
    assert (reply.rcode, "aa" in reply.flags) == ("REFUSED", False)
    assert reply.answer + reply.authority + reply.additional == ()


@rule(8020, "2", "a name with something below it exists: NODATA, never NXDOMAIN")
@pytest.mark.parametrize("name", ["dns", "fresh"])
def test_an_empty_name_with_something_below_it_exists(ask: Ask, name: str) -> None:
    for rtype in ("A", "TXT", "NS", "CAA"):
        reply = ask(name, rtype)
        assert (reply.rcode, reply.answer, reply.soa is not None) == ("NOERROR", (), True)


@rule(8020, "2", "nothing exists below a name that does not exist")
def test_nothing_stands_below_what_does_not_exist(ask: Ask) -> None:
    for name in ("unknown", "_acme-challenge.unknown", "192-168-1-20.unknown", "a.b.unknown"):
        assert ask(name, "TXT").rcode == "NXDOMAIN"


@rule(9156, "2.3", "each step of a resolver that minimises its question is NOERROR down to a name that exists")
def test_a_minimising_resolver_finds_its_way(ask: Ask) -> None:
    for name in ("", "two", "_acme-challenge.two", "dns", "ns2.dns", "fresh", "_acme-challenge.fresh"):
        assert ask(name, "A").rcode == "NOERROR"


@rule(8482, "4.2", "ANY is answered with one HINFO that names the RFC")
def test_any_is_one_small_record(ask: Ask) -> None:
    for name in ("", "both", "_acme-challenge.two"):
        reply = ask(name, "ANY", edns=0)
        assert reply.data("HINFO") == {'"RFC8482" ""'}
        assert len(reply.answer) == 1
        assert reply.size_bytes < 150
    assert ask("unknown", "ANY").rcode == "NXDOMAIN"


@rule(3597, "3", "unknown types are NODATA where the name exists")
@pytest.mark.parametrize("rtype", ["TYPE1234", "TYPE65280", "SRV", "DS", "DNSKEY", "NSEC", "NULL", "SPF"])
def test_a_type_that_is_not_there_is_nodata(ask: Ask, rtype: str) -> None:
    reply = ask("both", rtype)
    assert (reply.rcode, reply.answer, reply.soa is not None) == ("NOERROR", (), True)


@rule(4035, "3.1.4.1", "DS of the zone's own top is the parent's: NODATA here")
def test_there_is_no_ds_at_the_top(ask: Ask) -> None:
    reply = ask("", "DS", edns=0, dnssec_ok=True)
    assert (reply.rcode, reply.answer, reply.soa is not None) == ("NOERROR", (), True)


@rule(1035, "3.2.4", "classes other than IN are refused")
@pytest.mark.parametrize("rdclass", ["CH", "ANY", "NONE", "CLASS77"])
def test_another_class_is_refused(ask: Ask, rdclass: str) -> None:
    reply = ask("both", rdclass=rdclass)
    assert (reply.rcode, reply.answer) == ("REFUSED", ())


@rule(4892, "3", "who asks for the server's version is refused")
@pytest.mark.parametrize("name", ["version.bind.", "version.server.", "hostname.bind.", "id.server."])
def test_the_version_is_not_told(ask: Ask, name: str) -> None:
    reply = ask(name, "TXT", rdclass="CH")
    assert (reply.rcode, reply.answer) == ("REFUSED", ())


@rule(8659, "4.1", "CAA stands at the top, one record for every CA that may issue")
@rule(8657, "3", "it names the account")
@rule(8657, "4", "it names the way of validation")
def test_caa_at_the_top_binds_issuer_account_and_way(ask: Ask) -> None:
    reply = ask("", "CAA")
    assert reply.data("CAA") == {f'0 issue "{value}"' for value in CAA}
    for value in reply.data("CAA"):
        assert "accounturi=https://" in value
        assert "validationmethods=dns-01" in value


@rule(8659, "3", "a CAA question below is NODATA, so that the CA climbs to the top")
def test_the_climb_for_caa_reaches_the_top(ask: Ask) -> None:
    for name in ("_acme-challenge.both", "both"):
        reply = ask(name, "CAA", edns=0)
        assert (reply.rcode, reply.answer, "tc" in reply.flags) == ("NOERROR", (), False)
    assert ask("", "CAA", edns=0).answer


@rule(
    9460,
    "2.4.3",
    "a box that serves HTTPS at its own name has one record: priority 1, target itself, and what is spoken",
)
@rule(9460, "7.1", "its ALPN names http/1.1, which every web server speaks")
def test_a_box_says_that_it_serves_https(ask: Ask) -> None:
    reply = ask("web", "HTTPS", edns=0)
    assert reply.data("HTTPS") == {'1 . alpn="http/1.1"'}
    assert len(reply.answer) == 1


@rule(9460, "9.1", "the record stands at the name itself; a name without one is NODATA")
def test_a_name_without_https_record_is_nodata(ask: Ask) -> None:
    for name in ("", "both", "fresh", "_acme-challenge.web"):
        reply = ask(name, "HTTPS")
        assert (reply.rcode, reply.answer, reply.soa is not None) == ("NOERROR", (), True)


@rule(7505, "3", "nobody takes mail: one MX of preference 0 and the root")
@rule(7208, "6.1", "nobody sends mail: v=spf1 -all")
def test_the_zone_has_no_mail(ask: Ask) -> None:
    assert ask("", "MX").data("MX") == {"0 ."}
    assert '"v=spf1 -all"' in ask("", "TXT").data("TXT")


@rule(8555, "8.4", "several values stand side by side: one for the name, one for the wildcard")
def test_two_challenges_stand_side_by_side(ask: Ask) -> None:
    reply = ask("_acme-challenge.two", "TXT")
    assert reply.data("TXT") == {'"value-of-the-name"', '"value-of-the-wildcard"'}
    assert all(record.ttl_s <= 10 for record in reply.answer)


@rule(2308, "5", "so that nobody remembers an absence, a name without challenge has a placeholder")
def test_a_name_without_challenge_has_a_placeholder(ask: Ask) -> None:
    reply = ask("_acme-challenge.both", "TXT")
    assert reply.data("TXT") == {'"no challenge is waiting"'}
    assert reply.answer[0].ttl_s <= 10


@rule(1034, "3.6", "a name that says its address has that address, where the box's policy allows it")
def test_a_name_that_says_its_address_has_it(ask: Ask) -> None:
    assert ask("192-168-7-9.both", "A").data("A") == {"192.168.7.9"}
    assert ask("fd000000000000000000000000000009.both", "AAAA").data("AAAA") == {"fd00::9"}
    for name in ("8-8-8-8.both", "192-168-007-9.both", "192-168-7-9", "192-168-7-9.unknown", "1-192-168-7-9.both"):
        assert ask(name, "A").rcode == "NXDOMAIN"


@rule(1982, "3.1", "the serial grows when the content changes")
@rule(1034, "4.3.5", "and it stays when nothing changed")
def test_the_serial_moves_with_the_content(changing: Served, ask_at: Callable[..., Reply]) -> None:
    def serial() -> int:
        (soa,) = ask_at(changing.port, "", "SOA").answer
        return int(soa.data.split()[2])

    seen = [serial()]
    changing.change(lambda zone: zone.put_txt("both", "new"))
    seen.append(serial())
    changing.change(lambda zone: zone.put_txt("both", "new"))
    assert serial() == seen[-1]
    changing.change(lambda zone: zone.withdraw("four"))
    seen.append(serial())
    assert seen == sorted(set(seen))
    negative = ask_at(changing.port, "four")
    assert negative.rcode == "NXDOMAIN"
    assert negative.soa is not None
    assert int(negative.soa.data.split()[2]) == seen[-1]
