"""What the zone says, one rule of a standard per test; names below are those of `conftest.zone`."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address

import dns.flags
import dns.message
import dns.rcode
import pytest

from otscert.domain.addresses import DEFAULT_POLICY, AddressPolicy
from otscert.zones.errors import LabelError, RecordError
from otscert.zones.settings import ZoneSettings
from otscert.zones.zone import Zone

Ask = Callable[..., dns.message.Message]

ORIGIN = "boxes.example.com"


def texts(response: dns.message.Message) -> set[str]:
    return {str(rdata) for rrset in response.answer for rdata in rrset}


def ttl(response: dns.message.Message) -> int:
    [rrset] = response.answer
    return rrset.ttl


def is_nodata(response: dns.message.Message) -> bool:
    return response.rcode() == dns.rcode.NOERROR and not response.answer and has_negative_soa(response)


def is_nxdomain(response: dns.message.Message) -> bool:
    return response.rcode() == dns.rcode.NXDOMAIN and not response.answer and has_negative_soa(response)


def has_negative_soa(response: dns.message.Message) -> bool:
    [soa] = response.authority
    return (str(soa.name), soa.ttl, bool(response.flags & dns.flags.AA)) == (ORIGIN + ".", 60, True)


def test_the_top_answers_soa(ask: Ask, zone: Zone) -> None:
    [rdata] = texts(ask(ORIGIN, "SOA"))
    assert rdata == f"ns1.boxes.example.com. hostmaster.example.com. {zone.serial} 3600 600 1209600 60"


def test_a_contact_and_server_inside_the_zone_are_written_whole() -> None:
    zone = Zone(
        ZoneSettings(
            origin="z.example",
            name_servers=("ns.z.example",),
            server_addresses={"ns.z.example": (ip_address("192.0.2.1"),)},
            contact="dns.admin.z.example",
        )
    )
    query = dns.message.make_query("nothing.below.z.example", "A")
    answer = zone.answer(query.to_wire(), size_limit=1232)
    assert answer is not None
    [soa] = dns.message.from_wire(answer).authority
    assert str(soa[0]).startswith("ns.z.example. dns.admin.z.example. 1 ")


def test_the_top_answers_ns_with_the_addresses_of_servers_inside_the_zone(ask: Ask) -> None:
    response = ask(ORIGIN, "NS")
    assert texts(response) == {"ns1.boxes.example.com.", "ns2.dns.boxes.example.com.", "ns.example.net."}
    assert {(str(rrset.name), str(rdata)) for rrset in response.additional for rdata in rrset} == {
        ("ns1.boxes.example.com.", "192.0.2.1"),
        ("ns1.boxes.example.com.", "2001:db8::1"),
        ("ns2.dns.boxes.example.com.", "192.0.2.2"),
    }


def test_the_top_answers_caa(ask: Ask) -> None:
    assert texts(ask(ORIGIN, "CAA")) == {
        '0 issue "pebble.example; accounturi=https://pebble.example/acct/1; validationmethods=dns-01"'
    }


def test_the_top_says_that_nobody_gets_mail(ask: Ask) -> None:
    assert texts(ask(ORIGIN, "MX")) == {"0 ."}
    assert texts(ask(ORIGIN, "TXT")) == {'"v=spf1 -all"'}


def test_the_top_has_no_address(ask: Ask) -> None:
    assert is_nodata(ask(ORIGIN, "A"))


def test_the_public_suffix_list_finds_its_txt(ask: Ask) -> None:
    assert texts(ask("_psl." + ORIGIN, "TXT")) == {'"https://github.com/publicsuffix/list/pull/1"'}


def test_name_servers_inside_the_zone_have_addresses(ask: Ask) -> None:
    assert texts(ask("ns1." + ORIGIN, "A")) == {"192.0.2.1"}
    assert texts(ask("ns1." + ORIGIN, "AAAA")) == {"2001:db8::1"}
    assert texts(ask("ns2.dns." + ORIGIN, "A")) == {"192.0.2.2"}


def test_a_name_between_a_name_server_and_the_top_exists(ask: Ask) -> None:
    assert is_nodata(ask("dns." + ORIGIN, "A"))


def test_a_box_has_its_addresses(ask: Ask) -> None:
    assert texts(ask("both." + ORIGIN, "A")) == {"192.168.1.20", "10.0.0.1"}
    assert texts(ask("both." + ORIGIN, "AAAA")) == {"fd00::20"}
    assert ttl(ask("both." + ORIGIN, "A")) == 60


def test_a_box_without_an_address_of_a_family_answers_nodata(ask: Ask) -> None:
    assert is_nodata(ask("four." + ORIGIN, "AAAA"))
    assert is_nodata(ask("empty." + ORIGIN, "A"))


@pytest.mark.parametrize("rtype", ["TXT", "CAA", "MX", "NS", "SOA", "HTTPS", "DS", "DNSKEY", "TYPE97", "TYPE65534"])
def test_a_box_answers_nodata_for_every_other_type(ask: Ask, rtype: str) -> None:
    assert is_nodata(ask("both." + ORIGIN, rtype))


def test_types_that_differ_in_the_bit_of_letter_case_are_not_mixed_up(zone: Zone, ask: Ask) -> None:
    # A is type 1 and NULL 10; 65 ("A") and 97 ("a") are one when octets are lower-cased carelessly.
    assert ask("both." + ORIGIN, "TYPE97").question[0].rdtype == 97
    assert ask("both." + ORIGIN, "TYPE65").question[0].rdtype == 65
    assert ("HTTPS", "NOERROR") in zone.counters.snapshot()


def test_an_unknown_label_is_nxdomain(ask: Ask) -> None:
    assert is_nxdomain(ask("unknown." + ORIGIN, "A"))
    assert is_nxdomain(ask("_acme-challenge.unknown." + ORIGIN, "TXT"))
    assert is_nxdomain(ask("192-168-1-20.unknown." + ORIGIN, "A"))


def test_a_name_below_what_exists_is_nxdomain(ask: Ask) -> None:
    assert is_nxdomain(ask("deeper._acme-challenge.both." + ORIGIN, "TXT"))
    assert is_nxdomain(ask("192-168-1-20.192-168-1-20.both." + ORIGIN, "A"))
    assert is_nxdomain(ask("www.both." + ORIGIN, "A"))
    assert is_nxdomain(ask("_acme-challenge." + ORIGIN, "TXT"))
    assert is_nxdomain(ask("x.ns1." + ORIGIN, "A"))


def test_a_label_whose_challenge_waits_exists_before_it_is_active(ask: Ask) -> None:
    # RFC 8020: NXDOMAIN at the label would take the challenge below it away.
    assert is_nodata(ask("fresh." + ORIGIN, "A"))
    assert texts(ask("_acme-challenge.fresh." + ORIGIN, "TXT")) == {'"value-one"'}
    assert is_nxdomain(ask("192-168-1-20.fresh." + ORIGIN, "A"))


def test_a_txt_name_answers_nodata_for_other_types(ask: Ask) -> None:
    assert is_nodata(ask("_acme-challenge.fresh." + ORIGIN, "A"))
    assert is_nodata(ask("_acme-challenge.both." + ORIGIN, "CAA"))


def test_an_active_label_has_a_placeholder_where_no_challenge_is(ask: Ask) -> None:
    response = ask("_acme-challenge.both." + ORIGIN, "TXT")
    assert texts(response) == {'"no challenge is waiting"'}
    assert ttl(response) <= 10


def test_several_challenges_stand_side_by_side_and_go_one_by_one(ask: Ask, zone: Zone) -> None:
    zone.put_txt("both", "value-one")
    zone.put_txt("both", "value-two")
    name = "_acme-challenge.both." + ORIGIN
    assert texts(ask(name, "TXT")) == {'"value-one"', '"value-two"'}
    assert ttl(ask(name, "TXT")) <= 10
    zone.drop_txt("both", "value-one")
    assert texts(ask(name, "TXT")) == {'"value-two"'}
    zone.drop_txt("both", "value-two")
    assert texts(ask(name, "TXT")) == {'"no challenge is waiting"'}


def test_an_inactive_label_ends_with_its_last_challenge(ask: Ask, zone: Zone) -> None:
    assert is_nodata(ask("fresh." + ORIGIN, "AAAA"))
    zone.drop_txt("fresh", "value-one")
    assert is_nxdomain(ask("fresh." + ORIGIN, "AAAA"))
    assert is_nxdomain(ask("_acme-challenge.fresh." + ORIGIN, "TXT"))


def test_a_long_value_is_written_as_several_strings(ask: Ask, zone: Zone) -> None:
    zone.put_txt("long", "x" * 300)
    [rrset] = ask("_acme-challenge.long." + ORIGIN, "TXT").answer
    assert [len(string) for string in rrset[0].strings] == [255, 45]


def test_new_addresses_replace_the_old_ones_at_once(ask: Ask, zone: Zone) -> None:
    assert texts(ask("four." + ORIGIN, "A")) == {"192.168.1.21"}
    assert is_nodata(ask("four." + ORIGIN, "AAAA"))
    zone.activate("four", [ip_address("10.9.9.9"), ip_address("fd00::9")], DEFAULT_POLICY)
    assert texts(ask("four." + ORIGIN, "A")) == {"10.9.9.9"}
    assert texts(ask("four." + ORIGIN, "AAAA")) == {"fd00::9"}


def test_an_address_given_twice_is_published_once(zone: Zone) -> None:
    zone.activate("twice", [ip_address("10.0.0.9"), ip_address("10.0.0.9")], DEFAULT_POLICY)
    answer = zone.answer(dns.message.make_query("twice." + ORIGIN, "A").to_wire(), size_limit=512)
    assert answer is not None
    assert int.from_bytes(answer[6:8]) == 1


def test_a_withdrawn_label_is_gone_with_all_names_below_it(ask: Ask, zone: Zone) -> None:
    for name in ("four.", "_acme-challenge.four.", "192-168-1-20.four."):
        assert ask(name + ORIGIN, "A").rcode() == dns.rcode.NOERROR
    zone.withdraw("four")
    for name in ("four.", "_acme-challenge.four.", "192-168-1-20.four."):
        assert is_nxdomain(ask(name + ORIGIN, "A"))


def test_a_withdrawn_label_keeps_its_challenges(ask: Ask, zone: Zone) -> None:
    zone.put_txt("four", "value")
    zone.withdraw("four")
    assert texts(ask("_acme-challenge.four." + ORIGIN, "TXT")) == {'"value"'}


def test_another_policy_changes_the_names_below_at_once(ask: Ask, zone: Zone) -> None:
    assert texts(ask("192-168-1-20.four." + ORIGIN, "A")) == {"192.168.1.20"}
    zone.activate("four", [], AddressPolicy(networks=DEFAULT_POLICY.networks[:1]))
    assert is_nxdomain(ask("192-168-1-20.four." + ORIGIN, "A"))
    assert texts(ask("10-0-0-1.four." + ORIGIN, "A")) == {"10.0.0.1"}


def test_an_address_that_the_policy_refuses_is_not_published(ask: Ask, zone: Zone) -> None:
    refused = zone.activate("four", [ip_address("8.8.8.8"), ip_address("10.1.1.1")], DEFAULT_POLICY)
    assert [verdict.reason for verdict in refused] == ["8.8.8.8 is in no network that this model allows"]
    assert texts(ask("four." + ORIGIN, "A")) == {"10.1.1.1"}


def test_a_load_replaces_boxes_and_challenges(ask: Ask, zone: Zone) -> None:
    assert texts(ask("four." + ORIGIN, "A")) == {"192.168.1.21"}
    refused = zone.load([("new", [ip_address("10.2.2.2"), ip_address("127.0.0.1")], DEFAULT_POLICY)], [("new", "a")])
    assert len(refused) == 1
    assert texts(ask("new." + ORIGIN, "A")) == {"10.2.2.2"}
    assert texts(ask("_acme-challenge.new." + ORIGIN, "TXT")) == {'"a"'}
    assert is_nxdomain(ask("four." + ORIGIN, "A"))
    assert is_nxdomain(ask("fresh." + ORIGIN, "A"))


def test_a_load_that_fails_changes_nothing(ask: Ask, zone: Zone) -> None:
    with pytest.raises(LabelError):
        zone.load([("new", [], DEFAULT_POLICY), ("not.a.label", [], DEFAULT_POLICY)], [])
    assert texts(ask("four." + ORIGIN, "A")) == {"192.168.1.21"}
    assert is_nxdomain(ask("new." + ORIGIN, "A"))


def test_caa_can_be_replaced_and_emptied(ask: Ask, zone: Zone) -> None:
    assert len(texts(ask(ORIGIN, "CAA"))) == 1
    zone.set_caa(["a.example", "b.example"])
    assert texts(ask(ORIGIN, "CAA")) == {'0 issue "a.example"', '0 issue "b.example"'}
    zone.set_caa([])
    assert is_nodata(ask(ORIGIN, "CAA"))


@pytest.mark.parametrize("name", ["both.", "_acme-challenge.both.", "192-168-1-20.both."])
def test_a_caa_question_below_the_top_is_nodata_so_that_the_ca_climbs(ask: Ask, name: str) -> None:
    assert is_nodata(ask(name + ORIGIN, "CAA"))


def test_any_is_answered_with_one_record(ask: Ask) -> None:
    for name in (ORIGIN, "both." + ORIGIN, "_acme-challenge.both." + ORIGIN, "10-0-0-1.both." + ORIGIN):
        assert texts(ask(name, "ANY")) == {'"RFC8482" ""'}


def test_any_where_nothing_stands_is_negative(ask: Ask) -> None:
    assert is_nodata(ask("fresh." + ORIGIN, "ANY"))
    assert is_nodata(ask("dns." + ORIGIN, "ANY"))
    assert is_nodata(ask("empty." + ORIGIN, "ANY"))
    assert is_nxdomain(ask("unknown." + ORIGIN, "ANY"))


def test_the_case_of_the_question_comes_back(ask: Ask, zone: Zone) -> None:
    assert texts(ask("four." + ORIGIN, "A")) == {"192.168.1.21"}
    name = "FoUr.bOxEs.eXaMpLe.CoM."
    response = ask(name, "A")
    assert texts(response) == {"192.168.1.21"}
    assert response.question[0].name.to_text() == name
    assert response.answer[0].name.to_text() == name
    negative = zone.answer(dns.message.make_query("X.BOXES.example.com", "A").to_wire(), size_limit=1232)
    assert negative is not None
    assert b"\x01X\x05BOXES\x07example\x03com" in negative


@pytest.mark.parametrize(
    "name", ["example.com", "com", ".", "example.org", "xboxes.example.com", "boxes.example.com.example.org"]
)
def test_a_name_outside_the_zone_is_refused(ask: Ask, name: str) -> None:
    response = ask(name, "A")
    assert response.rcode() == dns.rcode.REFUSED
    assert not response.flags & dns.flags.AA
    assert not response.authority


def test_a_name_that_only_ends_with_the_zones_octets_is_outside(zone: Zone) -> None:
    # One label "a\5boxes" ends with the same octets as the label "boxes", but starts elsewhere.
    name = b"\x07a\x05boxes\x07example\x03com\x00"
    answer = zone.answer(b"\0\1\0\0\0\1\0\0\0\0\0\0" + name + b"\0\1\0\1", size_limit=512)
    assert answer is not None
    assert answer[3] & 0xF == dns.rcode.REFUSED


@pytest.mark.parametrize("rtype", ["AXFR", "IXFR"])
def test_a_transfer_is_refused(zone: Zone, rtype: str) -> None:
    query = dns.message.make_query(ORIGIN, rtype)
    answer = zone.answer(query.to_wire(), size_limit=None)
    assert answer is not None
    assert dns.message.from_wire(answer).rcode() == dns.rcode.REFUSED


@pytest.mark.parametrize("rdclass", ["CH", "HS", "NONE", "ANY"])
def test_classes_other_than_in_are_refused(ask: Ask, rdclass: str) -> None:
    assert ask("both." + ORIGIN, "A", rdclass=rdclass).rcode() == dns.rcode.REFUSED


def test_the_servers_version_is_nobodys_business(ask: Ask) -> None:
    assert ask("version.bind", "TXT", rdclass="CH").rcode() == dns.rcode.REFUSED
    assert ask("hostname.bind", "TXT", rdclass="CH").rcode() == dns.rcode.REFUSED


def test_the_serial_moves_with_the_content_and_only_then(zone: Zone) -> None:
    serials = [zone.serial]

    def note() -> None:
        serials.append(zone.serial)

    assert serials == [7 + 4]
    zone.put_txt("new", "a")
    note()
    zone.put_txt("new", "a")
    zone.drop_txt("new", "not there")
    zone.activate("four", [ip_address("192.168.1.21")], DEFAULT_POLICY)
    zone.withdraw("unknown")
    note()
    zone.drop_txt("new", "a")
    note()
    zone.set_caa(["x.example"])
    note()
    zone.set_caa(["x.example"])
    note()
    assert serials == [11, 12, 12, 13, 14, 14]


def test_a_remembered_negative_answer_carries_the_newest_serial(ask: Ask, zone: Zone) -> None:
    before = ask("four." + ORIGIN, "AAAA").authority[0][0].serial
    zone.put_txt("other", "value")
    assert ask("four." + ORIGIN, "AAAA").authority[0][0].serial == before + 1


def test_the_serial_wraps_at_32_bits(settings: ZoneSettings) -> None:
    zone = Zone(
        ZoneSettings(
            origin=settings.origin,
            name_servers=("ns.example.net",),
            contact=settings.contact,
            first_serial=2**32 - 1,
        )
    )
    zone.put_txt("new", "a")
    assert zone.serial == 0


@pytest.mark.parametrize("label", ["", "a.b", "-a", "a-", "a_b", "ab--c", "a" * 64, "ä", "a\n"])
def test_a_label_that_cannot_be_a_boxs_is_an_error(zone: Zone, label: str) -> None:
    before = zone.serial
    with pytest.raises(LabelError):
        zone.activate(label, [], DEFAULT_POLICY)
    with pytest.raises(LabelError):
        zone.put_txt(label, "value")
    assert zone.serial == before


@pytest.mark.parametrize("label", ["ns1", "DNS"])
def test_a_box_with_a_name_of_the_zone_itself_stands_back_alone(ask: Ask, zone: Zone, label: str) -> None:
    before = ask(f"{label}.{ORIGIN}", "A").answer
    zone.load([(label, [ip_address("10.2.2.2")], DEFAULT_POLICY), ("new", [], DEFAULT_POLICY)], [(label, "v")])
    assert zone.left_out == {label.lower()}
    serial = zone.serial
    zone.activate(label, [ip_address("10.2.2.2")], DEFAULT_POLICY)
    zone.put_txt(label, "value")
    zone.set_txt(label, ["value"])
    zone.drop_txt(label, "value")
    zone.withdraw(label)
    assert zone.serial == serial
    assert ask(f"{label}.{ORIGIN}", "A").answer == before
    assert is_nxdomain(ask(f"_acme-challenge.{label}.{ORIGIN}", "TXT"))
    assert texts(ask("_acme-challenge.new." + ORIGIN, "TXT")) == {'"no challenge is waiting"'}


def test_a_label_may_be_given_in_any_case(ask: Ask, zone: Zone) -> None:
    zone.activate("SHOUT", [ip_address("10.3.3.3")], DEFAULT_POLICY)
    assert texts(ask("shout." + ORIGIN, "A")) == {"10.3.3.3"}


@pytest.mark.parametrize("value", ["ü", "x" * 5000])
def test_a_challenge_that_does_not_fit_is_an_error(zone: Zone, value: str) -> None:
    with pytest.raises(RecordError):
        zone.put_txt("four", value)


def test_one_label_cannot_collect_challenges_without_end(zone: Zone) -> None:
    for number in range(100):
        zone.put_txt("four", f"value-{number}")
    with pytest.raises(RecordError, match="100 challenges"):
        zone.put_txt("four", "one more")
    zone.put_txt("four", "value-1")


@pytest.mark.parametrize("value", ["", "ü", "a\x00b", "x" * 2000])
def test_a_caa_value_that_does_not_fit_changes_nothing(ask: Ask, zone: Zone, value: str) -> None:
    with pytest.raises(RecordError):
        zone.set_caa(["fine.example", value])
    assert len(texts(ask(ORIGIN, "CAA"))) == 1


def test_answers_are_counted_by_type_and_code(ask: Ask, zone: Zone) -> None:
    before = dict(zone.counters.snapshot())
    ask("four." + ORIGIN, "A")
    ask("unknown." + ORIGIN, "TYPE999")
    after = zone.counters.snapshot()
    assert after[("A", "NOERROR")] - before.get(("A", "NOERROR"), 0) == 2
    assert after[("other", "NXDOMAIN")] == 2
