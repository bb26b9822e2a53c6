"""How messages are read and framed: header, EDNS, truncation, and everything malformed."""

from __future__ import annotations

import struct
from collections.abc import Callable
from ipaddress import ip_address

import dns.edns
import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.tsigkeyring
import pytest

from otscert.zones import wire
from otscert.zones.settings import ZoneSettings
from otscert.zones.zone import Zone

Ask = Callable[..., dns.message.Message]

FOUR = b"\x04four\x05boxes\x07example\x03com\x00"
A_IN = b"\0\1\0\1"
OPT = b"\0\0\x29\x04\xd0\0\0\0\0\0\0"
FORMERR, NOTIMP, REFUSED = 1, 4, 5


def packet(*, flags: int = 0, counts: tuple[int, int, int, int] = (1, 0, 0, 0), body: bytes = FOUR + A_IN) -> bytes:
    return struct.pack("!6H", 0xBEEF, flags, *counts) + body


def rcode(answer: bytes | None) -> int:
    assert answer is not None
    assert answer[:2] == b"\xbe\xef"
    assert answer[2] & 0x80
    return answer[3] & 0xF


@pytest.mark.parametrize("bytes_left", range(12))
def test_a_truncated_header_is_met_with_silence(zone: Zone, bytes_left: int) -> None:
    assert zone.answer(packet()[:bytes_left], size_limit=512) is None


def test_an_answer_is_met_with_silence(zone: Zone) -> None:
    assert zone.answer(packet(flags=0x8000), size_limit=512) is None
    assert zone.answer(packet(flags=0x8400), size_limit=512) is None
    assert zone.counters.dropped == 2


@pytest.mark.parametrize("opcode", range(1, 16))
def test_other_operations_are_not_implemented(zone: Zone, opcode: int) -> None:
    answer = zone.answer(packet(flags=opcode << 11), size_limit=512)
    assert rcode(answer) == NOTIMP
    assert answer is not None
    assert answer[2] >> 3 & 0xF == opcode


def test_an_update_is_not_implemented(zone: Zone) -> None:
    message = dns.message.make_query("boxes.example.com", "SOA")
    message.set_opcode(dns.opcode.UPDATE)
    answer = zone.answer(message.to_wire(), size_limit=512)
    assert answer is not None
    assert dns.message.from_wire(answer).rcode() == dns.rcode.NOTIMP


@pytest.mark.parametrize("count", [0, 2, 3, 65535])
def test_any_number_of_questions_but_one_is_a_format_error(zone: Zone, count: int) -> None:
    body = (FOUR + A_IN) * min(count, 3)
    assert rcode(zone.answer(packet(counts=(count, 0, 0, 0), body=body), size_limit=512)) == FORMERR


@pytest.mark.parametrize("cut", range(1, len(FOUR + A_IN) + 1))
def test_a_question_that_ends_too_early_is_a_format_error(zone: Zone, cut: int) -> None:
    assert rcode(zone.answer(packet()[:-cut], size_limit=512)) == FORMERR


@pytest.mark.parametrize(
    "name",
    [
        b"\xc0\x0c",
        b"\xc0\x00",
        b"\x04four\xc0\x0c",
        b"\x04four\xc0\x11",
        b"\xff\xff",
        b"\x41" + b"a" * 65,
        b"\x80a\x00",
    ],
)
def test_a_compression_pointer_or_unknown_label_type_is_a_format_error(zone: Zone, name: bytes) -> None:
    assert rcode(zone.answer(packet(body=name + A_IN), size_limit=512)) == FORMERR


@pytest.mark.parametrize("length", [64, 0x80, 0xC0])
def test_a_length_above_63_is_never_a_label_even_where_the_octets_would_suffice(zone: Zone, length: int) -> None:
    body = bytes([length]) + b"a" * length + FOUR[5:] + A_IN
    assert rcode(zone.answer(packet(body=body), size_limit=512)) == FORMERR


def test_a_name_of_255_octets_is_read_and_one_of_256_is_not(zone: Zone) -> None:
    zone_part = FOUR[5:]
    room = 255 - len(zone_part)
    longest = b"".join(bytes([63]) + b"a" * 63 for _ in range(3))
    last = room - len(longest)
    fits = longest + bytes([last - 1]) + b"a" * (last - 1) + zone_part
    assert len(fits) == 255
    assert rcode(zone.answer(packet(body=fits + A_IN), size_limit=512)) == dns.rcode.NXDOMAIN
    too_long = longest + bytes([last]) + b"a" * last + zone_part
    assert rcode(zone.answer(packet(body=too_long + A_IN), size_limit=512)) == FORMERR


def test_127_labels_are_read(zone: Zone) -> None:
    zone_part = FOUR[5:]
    labels = b"\x01a" * ((255 - len(zone_part)) // 2)
    assert rcode(zone.answer(packet(body=labels + zone_part + A_IN), size_limit=512)) == dns.rcode.NXDOMAIN
    assert rcode(zone.answer(packet(body=b"\x01a" * 127 + b"\x00" + A_IN), size_limit=512)) == REFUSED


@pytest.mark.parametrize("label", [b"\x04fo\x00r", b"\x04\xff\xfe\x80\x00", b"\x01.", b"\x05four\x00", b"\x01\x00"])
def test_labels_with_zero_and_high_octets_are_just_unknown_names(zone: Zone, label: bytes) -> None:
    zone_part = FOUR[5:]
    assert rcode(zone.answer(packet(), size_limit=512)) == dns.rcode.NOERROR
    assert rcode(zone.answer(packet(body=label + zone_part + A_IN), size_limit=512)) == dns.rcode.NXDOMAIN


def test_recursion_desired_is_copied_and_never_available(zone: Zone) -> None:
    for flags in (0x0000, 0x0100, 0x0100):
        answer = zone.answer(packet(flags=flags), size_limit=512)
        assert answer is not None
        assert struct.unpack("!H", answer[2:4]) == (0x8400 | flags,)


def test_other_header_bits_are_cleared_in_the_answer(zone: Zone) -> None:
    # AA, TC, RA, Z, AD, CD and an rcode in a query mean nothing to us.
    answer = zone.answer(packet(flags=0x06FF), size_limit=512)
    assert answer is not None
    assert struct.unpack("!H", answer[2:4]) == (0x8400,)


def test_octets_behind_the_question_are_ignored(zone: Zone) -> None:
    plain = zone.answer(packet(), size_limit=512)
    assert zone.answer(packet() + b"junk", size_limit=512) == plain
    assert zone.answer(packet() + OPT, size_limit=512) == plain
    assert zone.answer(packet() + OPT, size_limit=512) == plain


def test_octets_behind_the_opt_record_are_ignored(zone: Zone) -> None:
    with_opt = packet(counts=(1, 0, 0, 1), body=FOUR + A_IN + OPT)
    assert zone.answer(with_opt + b"junk", size_limit=1232) == zone.answer(with_opt, size_limit=1232)


@pytest.mark.parametrize("counts", [(1, 1, 0, 0), (1, 0, 1, 0), (1, 0, 0, 3), (1, 65535, 65535, 65535)])
def test_records_that_only_an_answer_has_are_a_format_error(zone: Zone, counts: tuple[int, int, int, int]) -> None:
    record = b"\xc0\x0c\0\1\0\1\0\0\0\0\0\4\1\2\3\4"
    assert rcode(zone.answer(packet(counts=counts, body=FOUR + A_IN + record * 3), size_limit=512)) == FORMERR


@pytest.mark.parametrize("cut", range(1, 12))
def test_a_truncated_opt_record_is_a_format_error(zone: Zone, cut: int) -> None:
    query = packet(counts=(1, 0, 0, 1), body=FOUR + A_IN + OPT)
    assert rcode(zone.answer(query[:-cut], size_limit=512)) == FORMERR


def test_edns_is_answered_with_our_size_only_when_asked(ask: Ask) -> None:
    with_edns = ask("four.boxes.example.com", "A", use_edns=0, payload=4096)
    assert (with_edns.edns, with_edns.payload, with_edns.ednsflags & dns.flags.DO) == (0, 1232, 0)
    assert ask("four.boxes.example.com", "A", use_edns=-1).edns == -1
    negative = ask("unknown.boxes.example.com", "A", use_edns=0)
    assert negative.payload == 1232


def test_the_dnssec_ok_bit_is_copied(ask: Ask) -> None:
    assert ask("four.boxes.example.com", "A", want_dnssec=True).ednsflags == dns.flags.DO


@pytest.mark.parametrize("version", [1, 2, 255])
def test_a_newer_edns_version_is_answered_badvers(zone: Zone, version: int) -> None:
    body = FOUR + A_IN + b"\0\0\x29\x04\xd0\0" + bytes([version]) + b"\0\0\0\0"
    answer = zone.answer(packet(counts=(1, 0, 0, 1), body=body), size_limit=512)
    assert answer is not None
    response = dns.message.from_wire(answer)
    assert (response.rcode(), response.edns) == (dns.rcode.BADVERS, 0)
    assert not response.answer


def test_two_opt_records_are_a_format_error(zone: Zone) -> None:
    query = packet(counts=(1, 0, 0, 2), body=FOUR + A_IN + OPT + OPT)
    assert rcode(zone.answer(query, size_limit=512)) == FORMERR


@pytest.mark.parametrize("owner", [b"\x03key\x00", b"\xc0\x0c", b"\x03key\xc0\x0c", b"\x00"])
def test_an_opt_record_is_found_behind_another_record(zone: Zone, owner: bytes) -> None:
    other = owner + b"\0\xf9\0\xff\0\0\0\0\0\2ab"  # TKEY: a TSIG must be the last record
    answer = zone.answer(packet(counts=(1, 0, 0, 2), body=FOUR + A_IN + other + OPT), size_limit=512)
    assert answer is not None
    assert dns.message.from_wire(answer).edns == 0


@pytest.mark.parametrize("rdata", [b"\0", b"\0\x0a\0", b"\0\x0a\0\x08abc", b"\0\x0a\xff\xff"])
def test_an_edns_option_that_ends_too_early_is_a_format_error(zone: Zone, rdata: bytes) -> None:
    opt = OPT[:-2] + len(rdata).to_bytes(2) + rdata
    assert rcode(zone.answer(packet(counts=(1, 0, 0, 1), body=FOUR + A_IN + opt), size_limit=512)) == FORMERR


def test_unknown_edns_options_are_ignored(ask: Ask) -> None:
    option = dns.edns.GenericOption(dns.edns.OptionType.make(65001), b"whatever")
    response = ask("four.boxes.example.com", "A", use_edns=0, options=[option])
    assert response.rcode() == dns.rcode.NOERROR
    assert not response.options


def test_an_answer_too_large_for_udp_is_truncated_and_whole_on_tcp(ask: Ask, zone: Zone) -> None:
    for number in range(30):
        zone.put_txt("four", f"{number:043}")
    name = "_acme-challenge.four.boxes.example.com"
    for options, limit in (({"use_edns": -1}, 512), ({"use_edns": 0, "payload": 4096}, 1232)):
        response = ask(name, "TXT", **options)
        assert response.flags & dns.flags.TC
        assert not response.answer
        assert len(response.to_wire()) <= limit
    whole = ask(name, "TXT", size_limit=None)
    assert not whole.flags & dns.flags.TC
    assert len(whole.answer[0]) == 30


@pytest.mark.parametrize(("payload", "truncated"), [(512, True), (900, True), (1232, False), (65535, False)])
def test_the_senders_edns_size_bounds_the_answer(ask: Ask, zone: Zone, payload: int, truncated: object) -> None:
    for number in range(15):
        zone.put_txt("four", f"{number:043}")
    response = ask("_acme-challenge.four.boxes.example.com", "TXT", use_edns=0, payload=payload)
    assert bool(response.flags & dns.flags.TC) is truncated


def test_an_edns_size_below_512_counts_as_512(ask: Ask, zone: Zone) -> None:
    for number in range(5):
        zone.put_txt("four", f"{number:043}")
    response = ask("_acme-challenge.four.boxes.example.com", "TXT", use_edns=0, payload=0)
    assert not response.flags & dns.flags.TC
    assert len(response.answer[0]) == 5


def test_name_server_addresses_that_do_not_fit_are_left_out_without_truncation() -> None:
    hosts = [f"ns{number}.z.example" for number in range(6)]
    at = (ip_address("192.0.2.1"), ip_address("192.0.2.2"), ip_address("2001:db8::1"))
    zone = Zone(
        ZoneSettings(
            origin="z.example",
            name_servers=tuple(hosts),
            server_addresses=dict.fromkeys(hosts, at),
            contact="hostmaster.example",
        )
    )
    for use_edns, glue in ((-1, 0), (0, 12)):
        query = dns.message.make_query("z.example", "NS", use_edns=use_edns)
        answer = zone.answer(query.to_wire(), size_limit=1232)
        assert answer is not None
        response = dns.message.from_wire(answer)
        assert not response.flags & dns.flags.TC
        assert (len(response.answer[0]), len(response.additional)) == (6, glue)
        assert len(answer) <= (512 if use_edns == -1 else 1232)


def test_an_answer_to_edns_does_not_leak_into_an_answer_without(ask: Ask) -> None:
    for use_edns in (0, -1, 0, -1):
        assert ask("four.boxes.example.com", "A", use_edns=use_edns).edns == use_edns


def test_a_format_error_and_a_refusal_are_counted(zone: Zone) -> None:
    zone.answer(packet(counts=(0, 0, 0, 0)), size_limit=512)
    zone.answer(packet(body=b"\x03org\x00" + A_IN), size_limit=512)
    assert zone.counters.snapshot() == {("none", "FORMERR"): 1, ("A", "REFUSED"): 1}


@pytest.mark.parametrize(
    ("name", "rtype", "edns"), [("four.boxes.example.com", "A", -1), ("x.boxes.example.com", "SOA", 0)]
)
def test_a_query_with_a_tsig_record_is_known_as_signed_and_no_other(name: str, rtype: str, edns: int) -> None:
    query = dns.message.make_query(name, rtype, use_edns=edns)
    assert not wire.is_signed(query.to_wire())
    query.use_tsig(dns.tsigkeyring.from_text({"secondary": "bm90IGEgc2VjcmV0IQ=="}), "secondary")
    signed = query.to_wire()
    assert wire.is_signed(signed)
    assert not wire.is_signed(signed[:2] + b"\x80" + signed[3:]), "an answer is no query"
    assert not wire.is_signed(signed[:2] + b"\x28" + signed[3:]), "an update is no query"
    assert not any(wire.is_signed(signed[:cut]) for cut in range(len(signed)))
