"""Transfers and what is signed (RFC 1995, 1996, 5936, 8945): who may have the zone, and what a stranger is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import dns.message
import dns.opcode
import dns.query
import dns.tsig
import pytest

from otscert.zones.tsig import TsigKey
from tests.zone.beside import zone_file
from tests.zone.conftest import Send, sender
from tests.zone.rules import SOCKETS, rule
from tests.zone.served import HOST, ORIGIN, Served, example_zone, serve
from tests.zone.signing import FAILED, KEY, TOOLS, Came
from tests.zone.test_rules_of_messages import FOUR, packet, rcode_of

OTHER_SECRET = replace(KEY, secret=b"b secret of thirty-two octets !!")
NOBODYS = replace(KEY, name="nobody")
SHORTER = replace(KEY, algorithm="hmac-sha1")
NOTIMP, REFUSED, NOTAUTH = 4, 5, 9

Signed = Callable[..., Came]


@pytest.fixture(scope="module")
def primary() -> Iterator[Served]:
    """The example zone for secondaries; nobody changes it."""
    with serve(example_zone(), key=KEY) as running:
        yield running


@pytest.fixture
def moving() -> Iterator[Served]:
    """The same, to be changed."""
    with serve(example_zone(), key=KEY) as running:
        yield running


@pytest.fixture
def came(tool: str) -> Signed:
    """Ask for the origin: `came(served, "AXFR", key=KEY)`."""
    return lambda served, rtype, *, key=KEY, serial=None: TOOLS[tool](served.port, key, rtype, serial)


def lines(records: Came) -> list[str]:
    return [f"{each.name} {each.ttl_s} IN {each.rtype} {each.data}" for each in records.records]


def serial_of(line: str) -> int:
    return int(line.split()[6])


def by_udp(served: Served, rtype: str, *, key: dns.tsig.Key | None, name: str = ORIGIN) -> dns.message.Message:
    query = dns.message.make_query(name, rtype)
    if key is not None:
        query.use_tsig(key)
    return dns.query.udp(query, HOST, port=served.port, timeout=10)


@rule(5936, "2.2", "a transfer begins and ends with the same SOA, which stands nowhere else in it")
@rule(5936, "3", "it holds every record of the zone once, as the zone file has it")
@rule(8945, "5.3.1", "every message of it is signed so that the client's check holds")
def test_a_signed_transfer_is_the_zone(primary: Served, came: Signed) -> None:
    got = came(primary, "AXFR")
    assert (got.error, got.signed) == ("", True)
    first, *between, last = lines(got)
    assert first == last
    assert " SOA " in first
    assert sorted([first, *between]) == sorted(zone_file(primary.zone).splitlines())


@rule(5936, "5", "who does not sign gets no transfer: REFUSED")
@rule(1995, "2", "neither a whole one nor a difference")
def test_a_stranger_gets_no_transfer(primary: Served, served: Served, came: Signed) -> None:
    for server in (primary, served):
        for rtype, serial in (("AXFR", None), ("IXFR", 1)):
            got = came(server, rtype, key=None, serial=serial)
            assert got.error in ("REFUSED", FAILED)
            assert not got.records


@rule(5936, "2.2.1", "its rcode is REFUSED, and NOTAUTH for a zone that is not this one", asked_with="dnspython")
def test_refusals_of_transfers_have_their_rcodes(primary: Served) -> None:
    key = dns.tsig.Key(KEY.name, KEY.secret, KEY.algorithm)
    assert by_udp(primary, "AXFR", key=None).rcode() == REFUSED
    for name in ("example.org", f"both.{ORIGIN}"):
        answer = by_udp(primary, "AXFR", key=key, name=name)
        assert (answer.rcode(), answer.had_tsig) == (NOTAUTH, True)


@rule(5936, "4.2", "there is no AXFR over UDP", asked_with="dnspython")
def test_there_is_no_whole_transfer_over_udp(primary: Served) -> None:
    answer = by_udp(primary, "AXFR", key=dns.tsig.Key(KEY.name, KEY.secret, KEY.algorithm))
    assert (answer.rcode(), answer.answer, answer.had_tsig) == (REFUSED, [], True)


@rule(1995, "2", "who has the newest version gets one SOA")
def test_who_has_it_all_gets_one_soa(primary: Served, came: Signed) -> None:
    for ahead in (0, 10):
        got = came(primary, "IXFR", serial=primary.zone.serial + ahead)
        assert (got.error, got.signed) == ("", True)
        (only,) = lines(got)
        assert serial_of(only) == primary.zone.serial


@rule(1995, "4", "a difference is the new SOA, the old one, what goes, the new one, what comes, the new SOA")
def test_a_difference_has_its_order(moving: Served, came: Signed) -> None:
    old = moving.zone.serial
    assert came(moving, "SOA").error == ""
    moving.change(lambda zone: zone.put_txt("fresh", "value-two"))
    new = moving.zone.serial
    got = came(moving, "IXFR", serial=old)
    assert (got.error, got.signed) == ("", True)
    shown = [serial_of(line) if " SOA " in line else line.split(" IN ")[1] for line in lines(got)]
    gone = 'TXT "value-one"'
    comes = 'TXT "value-two"'
    assert shown[:2] == [new, old]
    assert shown[-1] == new
    middle = shown.index(new, 1)
    assert old < new
    assert comes in shown[middle:]
    assert gone not in shown[middle:]
    assert comes not in shown[:middle]


@rule(1995, "4", "who is too far behind gets the whole zone")
def test_who_is_too_far_behind_gets_the_whole_zone(moving: Served, came: Signed) -> None:
    got = came(moving, "IXFR", serial=7)
    first, *between, last = lines(got)
    assert first == last
    assert sorted([first, *between]) == sorted(zone_file(moving.zone).splitlines())


@rule(8945, "5.3", "what is asked with a good signature is answered with one")
@rule(8945, "5.4", "that the asker finds good")
def test_a_signed_question_gets_a_signed_answer(primary: Served, came: Signed) -> None:
    got = came(primary, "SOA")
    assert (got.error, got.signed, len(got.records)) == ("", True, 1)


@rule(8945, "5.2.1", "a key that nobody has is BADKEY, unsigned; so is one with another algorithm")
@rule(8945, "5.3.2", "an answer to a signature that could not be checked is not signed")
@pytest.mark.parametrize("key", [NOBODYS, SHORTER], ids=["name", "algorithm"])
def test_a_key_that_nobody_has_is_badkey(primary: Served, came: Signed, key: TsigKey) -> None:
    for rtype in ("SOA", "AXFR"):
        got = came(primary, rtype, key=key)
        assert (got.error, bool(got.signed), list(got.records)) == ("BADKEY", False, [])


@rule(8945, "5.2.2", "a signature by another secret is BADSIG, and nothing is told")
def test_a_wrong_signature_is_badsig(primary: Served, came: Signed) -> None:
    for rtype in ("SOA", "AXFR"):
        got = came(primary, rtype, key=OTHER_SECRET)
        assert (got.error, bool(got.signed), list(got.records)) == ("BADSIG", False, [])


@rule(8945, "5.2.3", "a time that is not ours is BADTIME, signed, with our time in it")
def test_a_wrong_time_is_badtime_and_signed(came: Signed, ahead: Served) -> None:
    got = came(ahead, "SOA")
    assert (got.error, got.signed is not False, list(got.records)) == ("BADTIME", True, [])


@pytest.fixture(scope="module")
def ahead() -> Iterator[Served]:
    """A server whose clock is an hour ahead."""
    with serve(example_zone(), key=KEY, ahead_s=3_600) as running:
        yield running


@rule(8945, "5.2", "the rcode of all three is NOTAUTH", asked_with=SOCKETS)
def test_wrong_signatures_are_notauth(primary: Served, ahead: Served) -> None:
    for server, key in ((primary, NOBODYS), (primary, OTHER_SECRET), (ahead, KEY)):
        query = dns.message.make_query(ORIGIN, "SOA")
        query.use_tsig(dns.tsig.Key(key.name, key.secret, key.algorithm))
        with sender(server) as send_octets:
            octets = send_octets(query.to_wire())
        assert octets is not None
        assert octets[3] & 15 == NOTAUTH


@rule(1996, "3.10", "a NOTIFY to this server, which has no master, moves nothing", asked_with="kdig, octets")
@rule(1035, "4.1.1", "NOTIFY is not implemented: NOTIMP", asked_with="kdig, octets")
def test_a_notify_is_refused_and_moves_nothing(served: Served, primary: Served) -> None:
    notify = dns.message.make_query(ORIGIN, "SOA", flags=0x0400)
    notify.set_opcode(dns.opcode.NOTIFY)
    signed = dns.message.make_query(ORIGIN, "SOA", flags=0x0400)
    signed.set_opcode(dns.opcode.NOTIFY)
    signed.use_tsig(dns.tsig.Key(KEY.name, KEY.secret, KEY.algorithm))
    for server in (served, primary):
        before = server.zone.serial
        with sender(server) as send_octets:
            for octets in (notify.to_wire(), signed.to_wire()):
                answer = send_octets(octets)
                assert answer is not None
                assert (answer[:2], answer[2] >> 3 & 15, answer[3] & 15) == (octets[:2], dns.opcode.NOTIFY, NOTIMP)
        assert TOOLS["kdig"](server.port, None, "NOTIFY", None).error == "NOTIMPL"
        assert server.zone.serial == before


@pytest.fixture
def send_to_primary(primary: Served) -> Iterator[Send]:
    with sender(primary) as send_octets:
        yield send_octets


TSIG = b"\0\0\xfa\0\xff" + bytes(4) + b"\0\x3d\x0bhmac-sha256\0" + bytes(6) + b"\x01\x2c\0\x20" + bytes(32) + bytes(6)


@rule(8945, "5.2", "a TSIG that is not the last record, or not the only one, is a format error", asked_with=SOCKETS)
@pytest.mark.parametrize(
    ("records", "counts"),
    [
        (TSIG + b"\0\0\x29\x04\xd0" + bytes(6), (1, 0, 0, 2)),
        (TSIG + TSIG, (1, 0, 0, 2)),
        (TSIG, (1, 0, 1, 0)),
        (TSIG, (1, 1, 0, 0)),
        (TSIG + b"\0\0\x29\x04\xd0" + bytes(6), (1, 0, 1, 1)),
    ],
    ids=["before-opt", "twice", "in-authority", "in-answer", "in-authority-before-opt"],
)
@pytest.mark.parametrize("rtype", [1, 251], ids=["A", "IXFR"])
@pytest.mark.parametrize("keys", [True, False], ids=["with-keys", "without"])
def test_a_tsig_that_is_not_last_is_a_format_error(
    request: pytest.FixtureRequest, records: bytes, counts: tuple[int, int, int, int], rtype: int, *, keys: bool
) -> None:
    send = request.getfixturevalue("send_to_primary" if keys else "send")
    assert rcode_of(send(packet(FOUR + rtype.to_bytes(2) + b"\0\1" + records, counts=counts))) == "FORMERR"
