"""How messages are made: header, one question, EDNS, sizes, letter case (RFC 1035, 2181, 4343, 6891, 9619)."""

from __future__ import annotations

import dns.message
import dns.rcode
import pytest

from tests.zone.conftest import Ask, Send
from tests.zone.rules import SOCKETS, rule
from tests.zone.served import ORIGIN

FOUR = b"\x04four\x05boxes\x07example\x03com\x00"
OPT = b"\0\0\x29\x04\xd0\0\0\0\0\0\0"


def packet(body: bytes, *, flags: int = 0, counts: tuple[int, int, int, int] = (1, 0, 0, 0)) -> bytes:
    return b"\xbe\xef" + flags.to_bytes(2) + b"".join(count.to_bytes(2) for count in counts) + body


def rcode_of(answer: bytes | None) -> str:
    assert answer is not None
    assert answer[:2] == b"\xbe\xef"
    return dns.rcode.to_text(dns.message.from_wire(answer).rcode())


@rule(1035, "4.1.1", "AA: the server is an authority for the name in the question")
def test_what_stands_in_the_zone_is_answered_with_authority(ask: Ask) -> None:
    for name, rtype in (("", "SOA"), ("both", "A"), ("_acme-challenge.both", "TXT")):
        reply = ask(name, rtype)
        assert (reply.rcode, "aa" in reply.flags, len(reply.answer) > 0) == ("NOERROR", True, True)


@rule(1035, "4.1.1", "AA stands in negative answers too")
@rule(2308, "2.1", "NXDOMAIN of an authority has AA")
def test_negative_answers_have_authority_too(ask: Ask) -> None:
    assert "aa" in ask("unknown").flags
    assert "aa" in ask("four", "AAAA").flags


@rule(1035, "4.1.1", "RD is copied, RA is off: this server asks nobody else")
@rule(1034, "4.3.1", "a server without recursion answers from its own data only")
def test_recursion_desired_is_copied_and_not_available(ask: Ask) -> None:
    assert "rd" in ask("both", rd=True).flags
    assert "rd" not in ask("both").flags


@rule(1035, "4.1.1", "the id of the query is copied into the answer", asked_with=SOCKETS)
@rule(1035, "4.1.1", "opcode is copied, what is unknown is NOTIMP", asked_with=SOCKETS)
def test_id_and_opcode_are_copied(send: Send) -> None:
    # Query is 0; NOTIFY (4) and UPDATE (5) are judged where those are spoken.
    for opcode in (1, 2, 3, 6, 15):
        answer = send(packet(FOUR + b"\0\1\0\1", flags=opcode << 11))
        assert answer is not None
        assert answer[:2] == b"\xbe\xef"
        assert answer[2] >> 3 & 15 == opcode
        assert answer[3] & 15 == dns.rcode.NOTIMP


@rule(1035, "4.1.1", "QR: an answer is not answered", asked_with=SOCKETS)
def test_an_answer_is_met_with_silence_by_the_server(send: Send) -> None:
    assert send(packet(FOUR + b"\0\1\0\1", flags=0x8000)) is None
    assert send(b"\xbe\xef\0\0\0\1\0\0\0\0\0") is None


@rule(9619, "4", "a query with more or fewer questions than one is a format error", asked_with=SOCKETS)
@rule(1035, "4.1.2", "QDCOUNT of a standard query is 1", asked_with=SOCKETS)
@pytest.mark.parametrize("count", [0, 2, 65_535])
def test_not_exactly_one_question_is_a_format_error(send: Send, count: int) -> None:
    question = FOUR + b"\0\1\0\1"
    assert rcode_of(send(packet(question * min(count, 2), counts=(count, 0, 0, 0)))) == "FORMERR"


@rule(1035, "4.1.1", "FORMERR: the server was unable to interpret the query", asked_with=SOCKETS)
@rule(1035, "2.3.4", "labels have 63 octets, names 255", asked_with=SOCKETS)
@pytest.mark.parametrize(
    "name",
    [
        b"\xc0\x0c",
        b"\x04four\xc0\x0c",
        b"\x40" + bytes(64) + b"\0",
        (b"\x3f" + b"a" * 63) * 4 + b"\0",
        b"\x01a" * 128 + b"\0",
        b"\x04four",
        b"\x3fx",
    ],
    ids=["pointer", "loop", "label-of-64", "name-of-257", "128-labels", "no-end", "beyond-the-end"],
)
def test_a_name_that_is_none_is_a_format_error(send: Send, name: bytes) -> None:
    assert rcode_of(send(packet(name + b"\0\1\0\1"))) == "FORMERR"


@rule(1035, "2.3.4", "a name of 255 octets and one of 127 labels are names", asked_with=SOCKETS)
@rule(1035, "3.1", "any octet may stand in a label", asked_with=SOCKETS)
@rule(2181, "11", "any binary string can be used as a label", asked_with=SOCKETS)
@pytest.mark.parametrize(
    "front",
    [b"\x3f" + b"a" * 63, b"\x01a" * 50, b"\x01\x00", b"\x03\xff\xfe\x00", b"\x07both.xy", b"\x01 "],
    ids=["label-of-63", "50-labels", "nul", "high", "dot", "blank"],
)
def test_unusual_names_are_names(send: Send, front: bytes) -> None:
    assert rcode_of(send(packet(front + FOUR[5:] + b"\0\1\0\1"))) == "NXDOMAIN"


def test_the_longest_names_are_read(send: Send) -> None:
    origin = FOUR[5:]
    room = 255 - len(origin)
    longest = (b"\x3f" + b"a" * 63) * 3 + bytes([room - 3 * 64 - 1]) + b"b" * (room - 3 * 64 - 1)
    most = b"\x01a" * 126 + b"\x01b\0"
    assert len(longest + origin) == len(most) == 255
    assert rcode_of(send(packet(longest + origin + b"\0\1\0\1"))) == "NXDOMAIN"
    assert rcode_of(send(packet(most + b"\0\1\0\1"))) == "REFUSED"


@rule(4343, "3", "names that differ in letter case only are equal")
@rule(4343, "4.1", "the case of the question comes back (0x20)")
def test_the_case_of_the_question_is_echoed_and_does_not_matter(ask: Ask) -> None:
    for name in ("BoTH.BoXeS.eXaMPLe.CoM.", "BOTH.BOXES.EXAMPLE.COM.", "both.boxes.example.com."):
        reply = ask(name)  # that the question comes back octet by octet is judged for every answer
        assert {record.name for record in reply.answer} == {name}
        assert reply.data("A") == {"192.168.1.20", "10.0.0.1"}
    assert ask("_ACME-Challenge.FRESH", "TXT").data("TXT") == {'"value-one"'}
    assert ask("UnKnown").rcode == "NXDOMAIN"


@rule(2181, "5.2", "the records of a set have one TTL")
@rule(2181, "8", "a TTL is a number of 31 bits")
def test_the_records_of_a_set_have_one_ttl(ask: Ask) -> None:
    for name, rtype in (("both", "A"), ("", "NS"), ("", "CAA"), ("_acme-challenge.two", "TXT")):
        ttls = {record.ttl_s for record in ask(name, rtype).answer}
        assert len(ttls) == 1
        assert 0 <= ttls.pop() < 2**31


@rule(2181, "9", "TC is set when a set that is required does not fit; nothing is cut in the middle")
@rule(1035, "4.2.1", "messages over UDP have 512 octets unless EDNS says more")
def test_what_does_not_fit_is_left_out_and_said(ask: Ask) -> None:
    reply = ask("_acme-challenge.large", "TXT")
    assert "tc" in reply.flags
    assert "aa" in reply.flags
    assert (reply.rcode, reply.answer) == ("NOERROR", ())
    assert reply.size_bytes <= 512


@rule(2181, "9", "leaving out what is only additional is no truncation")
def test_addresses_of_name_servers_are_additional(ask: Ask) -> None:
    reply = ask("", "NS", edns=0)
    assert "tc" not in reply.flags
    assert {(each.name, each.data) for each in reply.additional} == {
        (f"ns1.{ORIGIN}.", "192.0.2.1"),
        (f"ns1.{ORIGIN}.", "2001:db8::1"),
        (f"ns2.dns.{ORIGIN}.", "192.0.2.2"),
    }


@rule(1035, "4.2.2", "what is truncated over UDP is whole over TCP")
@rule(7766, "5", "every server speaks TCP")
def test_what_was_truncated_is_whole_over_tcp(ask: Ask) -> None:
    assert "tc" in ask("_acme-challenge.huge", "TXT", edns=0).flags
    reply = ask("_acme-challenge.huge", "TXT", edns=0, tcp=True)
    assert "tc" not in reply.flags
    assert len(reply.answer) == 40


@rule(6891, "6.1.1", "OPT stands in the answer when, and only when, it stood in the query")
@rule(6891, "6.2.4", "the answer tells how much this server takes: 1232 octets")
def test_edns_is_spoken_when_it_was_spoken(ask: Ask) -> None:
    for name in ("both", "unknown", "example.org."):
        reply = ask(name, edns=0)
        assert reply.edns is not None
        assert (reply.edns.version, reply.edns.udp_bytes) == (0, 1232)
        assert ask(name).edns is None


@rule(6891, "6.1.3", "a higher version is answered BADVERS with the version that is spoken here")
def test_a_newer_version_of_edns_is_badvers(ask: Ask) -> None:
    reply = ask("both", edns=1)
    assert (reply.rcode, reply.answer) == ("BADVERS", ())
    assert reply.edns is not None
    assert reply.edns.version == 0


@rule(6891, "6.1.2", "unknown options are ignored")
def test_unknown_options_are_ignored_by_the_server(ask: Ask) -> None:
    reply = ask("both", edns=0, option=(65_001, b"whatever"))
    assert (reply.rcode, len(reply.answer)) == ("NOERROR", 2)


@rule(6891, "6.2.5", "the size that the client takes bounds the answer")
def test_the_clients_size_bounds_the_answer(ask: Ask) -> None:
    assert "tc" in ask("_acme-challenge.large", "TXT", edns=0, udp_bytes=600).flags
    whole = ask("_acme-challenge.large", "TXT", edns=0, udp_bytes=1232)
    assert ("tc" in whole.flags, len(whole.answer)) == (False, 12)
    # More than 1232 is never sent, whatever the client takes.
    assert "tc" in ask("_acme-challenge.huge", "TXT", edns=0, udp_bytes=65_535).flags


@rule(6891, "6.2.3", "a size below 512 counts as 512", asked_with=SOCKETS)
@pytest.mark.parametrize("size", [0, 1, 511])
def test_a_size_below_512_is_512(send: Send, size: int) -> None:
    answer = send(packet(FOUR[5:] + b"\1\1\0\1" + OPT[:3] + size.to_bytes(2) + OPT[5:], counts=(1, 0, 0, 1)))
    assert answer is not None
    # The CAA set has 200 octets: more than the size, fewer than 512.
    assert 200 < len(answer) <= 512
    assert not answer[2] & 2


@rule(6891, "6.1.1", "more than one OPT is a format error", asked_with=SOCKETS)
def test_two_opts_are_a_format_error(send: Send) -> None:
    assert rcode_of(send(packet(FOUR + b"\0\1\0\1" + OPT + OPT, counts=(1, 0, 0, 2)))) == "FORMERR"


@rule(6891, "6.1.1", "OPT stands in the additional section only", asked_with=SOCKETS)
@pytest.mark.parametrize("counts", [(1, 1, 0, 0), (1, 0, 1, 0)], ids=["answer", "authority"])
@pytest.mark.parametrize("rtype", [1, 251], ids=["A", "IXFR"])
def test_an_opt_in_another_section_is_a_format_error(send: Send, counts: tuple[int, int, int, int], rtype: int) -> None:
    assert rcode_of(send(packet(FOUR + rtype.to_bytes(2) + b"\0\1" + OPT, counts=counts))) == "FORMERR"


@rule(1035, "3.2.4", "Hesiod is one of the classes that are refused", asked_with=SOCKETS)
def test_hesiod_is_refused(send: Send) -> None:
    assert rcode_of(send(packet(FOUR + b"\0\1\0\4"))) == "REFUSED"


@rule(6891, "7", "an OPT that ends too early is a format error", asked_with=SOCKETS)
@pytest.mark.parametrize("opt", [OPT[:-1], OPT[:-2] + b"\0\4", OPT[:-2] + b"\0\4\0\x0a\0\7"])
def test_a_broken_opt_is_a_format_error(send: Send, opt: bytes) -> None:
    assert rcode_of(send(packet(FOUR + b"\0\1\0\1" + opt, counts=(1, 0, 0, 1)))) == "FORMERR"


@rule(3225, "3", "the DO bit is copied, though nothing is signed")
def test_the_do_bit_is_copied(ask: Ask) -> None:
    for wanted in (True, False):
        reply = ask("both", edns=0, dnssec_ok=wanted)
        assert reply.edns is not None
        assert reply.edns.dnssec_ok is wanted
        assert "ad" not in reply.flags
