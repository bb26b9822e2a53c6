"""DNS cookies (RFC 7873, 9018): made, judged, carried by answers over UDP and TCP, and no way around the limit."""

from __future__ import annotations

from dataclasses import dataclass

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import pytest

from otscert.zones.cookies import Cookies, Standing
from otscert.zones.front import Front
from otscert.zones.rate import RateLimit
from otscert.zones.zone import Zone

NOW_S = 1_800_000_000
CLIENT = "192.0.2.7"
MINE = b"clientck"
COOKIE = dns.edns.OptionType.COOKIE
NAME = "four.boxes.example.com"


@dataclass
class Clock:
    now_s: int = NOW_S

    def __call__(self) -> float:
        return self.now_s


def cookies() -> Cookies:
    return Cookies(bytes(range(32)))


@pytest.mark.parametrize(
    ("age_s", "standing", "is_new"),
    [
        (0, Standing.VALID, False),
        (1800, Standing.VALID, False),
        (1801, Standing.VALID, True),
        (3600, Standing.VALID, True),
        (3601, Standing.BAD, True),
        (-300, Standing.VALID, False),
        (-301, Standing.BAD, True),
    ],
)
def test_a_cookie_is_good_for_an_hour_and_renewed_after_half(age_s: int, standing: Standing, *, is_new: bool) -> None:
    made = cookies().judge(MINE, CLIENT, NOW_S)
    assert made.standing is Standing.NEW
    assert len(made.cookie) == 24
    later = cookies().judge(made.cookie, CLIENT, NOW_S + age_s)
    assert later.standing is standing
    assert (later.cookie != made.cookie) == is_new
    assert cookies().judge(later.cookie, CLIENT, NOW_S + age_s).standing is Standing.VALID


def test_time_in_cookies_goes_on_past_32_bits() -> None:
    end = 2**32
    made = cookies().judge(MINE, CLIENT, end - 10)
    assert cookies().judge(made.cookie, CLIENT, end + 10).standing is Standing.VALID


@pytest.mark.parametrize("octet", [*range(24)])
def test_any_other_octet_makes_a_cookie_bad(octet: int) -> None:
    made = bytearray(cookies().judge(MINE, CLIENT, NOW_S).cookie)
    made[octet] ^= 1
    assert cookies().judge(bytes(made), CLIENT, NOW_S).standing is Standing.BAD


def test_a_cookie_is_one_clients_and_one_secrets() -> None:
    made = cookies().judge(MINE, CLIENT, NOW_S).cookie
    assert cookies().judge(made, "192.0.2.8", NOW_S).standing is Standing.BAD
    assert Cookies(bytes(32)).judge(made, CLIENT, NOW_S).standing is Standing.BAD


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def front(zone: Zone, clock: Clock) -> Front:
    return Front(zone.responder, zone.counters, cookies(), limit=RateLimit(3), clock=clock)


def query(name: str = NAME, rtype: str = "A", *, cookie: bytes | None = MINE, payload: int = 1232) -> bytes:
    options: list[dns.edns.Option] = [] if cookie is None else [dns.edns.GenericOption(COOKIE, cookie)]
    return dns.message.make_query(name, rtype, use_edns=0, payload=payload, options=options, id=5).to_wire()


def read(answer: object) -> tuple[dns.message.Message, bytes]:
    assert isinstance(answer, bytes)
    message = dns.message.from_wire(answer, raise_on_truncation=False)
    return message, next((option.to_wire() or b"" for option in message.options if option.otype == 10), b"")


@pytest.mark.parametrize("transport", ["datagram", "message"])
@pytest.mark.parametrize("rtype", ["A", "AAAA", "SOA", "AXFR"])
def test_an_answer_with_a_cookie_is_the_answer_without_and_a_cookie(front: Front, transport: str, rtype: str) -> None:
    answer = getattr(front, transport)
    first, cookie = read(answer(query(rtype=rtype), CLIENT))
    assert cookie[:8] == MINE
    again, same = read(answer(query(rtype=rtype, cookie=cookie), CLIENT))
    assert same == cookie
    plain, none = read(answer(query(rtype=rtype, cookie=None), CLIENT))
    assert none == b""
    assert first.sections == again.sections == plain.sections
    assert first.rcode() == again.rcode() == plain.rcode()
    assert first.flags == plain.flags


@pytest.mark.parametrize("length", [0, 1, 7, 9, 15, 41, 64])
def test_a_cookie_of_an_impossible_length_is_a_format_error(front: Front, length: int) -> None:
    if length:
        assert read(front.datagram(query(cookie=bytes(length)), CLIENT))[0].rcode() == dns.rcode.FORMERR
    assert read(front.message(query(cookie=bytes(length)), CLIENT))[0].rcode() == dns.rcode.FORMERR


@pytest.mark.parametrize("length", [16, 24, 40])
def test_a_bad_cookie_gets_the_answer_and_a_good_one(front: Front, zone: Zone, length: int) -> None:
    answer, cookie = read(front.datagram(query(cookie=MINE + bytes(length - 8)), CLIENT))
    assert answer.rcode() == dns.rcode.NOERROR
    assert len(answer.answer) == 1
    assert cookies().judge(cookie, CLIENT, NOW_S).standing is Standing.VALID
    assert zone.counters.cookies[Standing.BAD] == 1


def test_only_the_first_of_two_cookies_counts(front: Front) -> None:
    options: list[dns.edns.Option] = [dns.edns.GenericOption(COOKIE, MINE), dns.edns.GenericOption(COOKIE, b"x")]
    two = dns.message.make_query(NAME, "A", use_edns=0, options=options).to_wire()
    assert read(front.datagram(two, CLIENT))[1][:8] == MINE


def test_beyond_the_limit_a_cookie_is_offered_and_a_good_one_is_exempt(front: Front) -> None:
    good = read(front.message(query(), CLIENT))[1]
    for _ in range(3):
        assert read(front.datagram(query(), CLIENT))[0].rcode() == dns.rcode.NOERROR
    asked = query()
    limited = front.datagram(asked, CLIENT)
    answer, cookie = read(limited)
    assert (answer.rcode(), answer.answer, bool(answer.flags & dns.flags.TC)) == (dns.rcode.BADCOOKIE, [], True)
    assert limited is not None
    assert len(limited) == len(asked) + 16
    for each in (cookie, good):
        assert len(read(front.datagram(query(cookie=each), CLIENT))[0].answer) == 1


def bare(*, cookie: bytes | None) -> bytes:
    option = b"" if cookie is None else b"\0\x0a" + len(cookie).to_bytes(2) + cookie
    return b"\0\5\0\0" + bytes(7) + b"\1" + b"\0\0\x29\4\xd0" + bytes(4) + len(option).to_bytes(2) + option


@pytest.mark.parametrize("transport", ["datagram", "message"])
def test_a_query_without_a_question_asks_for_a_cookie(front: Front, transport: str) -> None:
    answer = getattr(front, transport)
    message, cookie = read(answer(bare(cookie=MINE), CLIENT))
    assert (message.rcode(), message.question) == (dns.rcode.NOERROR, [])
    assert read(answer(bare(cookie=cookie), CLIENT))[0].rcode() == dns.rcode.NOERROR
    bad, fresh = read(answer(bare(cookie=MINE + bytes(16)), CLIENT))
    assert bad.rcode() == dns.rcode.BADCOOKIE
    assert fresh == cookie
    assert read(answer(bare(cookie=None), CLIENT))[0].rcode() == dns.rcode.FORMERR


@pytest.mark.parametrize("payload", [0, 512, 900, 1232, 65535])
def test_an_answer_with_a_cookie_keeps_to_the_senders_size(zone: Zone, clock: Clock, payload: int) -> None:
    front = Front(zone.responder, zone.counters, cookies(), clock=clock)
    for number in range(60):
        zone.put_txt("four", f"{number:043}")
        answer = front.datagram(query(f"_acme-challenge.{NAME}", "TXT", payload=payload), CLIENT)
        assert answer is not None
        assert len(answer) <= min(1232, max(512, payload))
        assert read(answer)[1]
    assert read(answer)[0].flags & dns.flags.TC


def test_a_newer_edns_version_with_a_cookie_is_badvers(front: Front) -> None:
    octets = bytearray(query())
    octets[-12 - 11 + 6] = 1
    answer, cookie = read(front.datagram(bytes(octets), CLIENT))
    assert answer.rcode() == dns.rcode.BADVERS
    assert cookie[:8] == MINE


def test_a_query_with_a_cookie_is_answered_from_memory(front: Front, zone: Zone) -> None:
    front.message(query(), CLIENT)
    zone._content._boxes.clear()
    answer, _ = read(front.message(query(cookie=b"anothers"), CLIENT))
    assert len(answer.answer) == 1
