"""How many answers a network gets over UDP, and what it gets beyond."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator
from dataclasses import dataclass

import dns.flags
import dns.message
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otscert.zones.cookies import Cookies
from otscert.zones.front import Front
from otscert.zones.rate import RateLimit, network_text
from otscert.zones.settings import ZoneSettings
from otscert.zones.transfer import Transfers
from otscert.zones.tsig import NOTAUTH, Keys, Signer, TsigKey, made
from otscert.zones.zone import Zone

NAME = "four.boxes.example.com"


@dataclass
class Clock:
    now_s: float = 1_800_000_000

    def __call__(self) -> float:
        return self.now_s


@pytest.mark.parametrize(
    ("client", "network"),
    [
        ("192.0.2.7", "192.0.2.0/24"),
        ("255.255.255.255", "255.255.255.0/24"),
        ("2001:db8:1:2ff::1", "2001:db8:1:200::/56"),
        ("::1", "::/56"),
        ("fe80::1%eth0", "fe80::/56"),
    ],
)
def test_clients_are_counted_by_network(client: str, network: str) -> None:
    assert network_text(client) == network


def test_one_network_has_one_count_and_others_have_theirs() -> None:
    limit = RateLimit(5)
    limit.left("192.0.2.7", 1)[0] -= 5
    assert limit.left("192.0.2.200", 1) == [0]
    assert limit.left("2001:db8::1", 1) == [5]
    limit.left("2001:db8::1", 1)[0] -= 1
    assert limit.left("2001:db8:0:ff:1::", 1) == [4]
    assert limit.left("192.0.2.7", 2) == [5]


def test_its_memory_is_bounded() -> None:
    limit = RateLimit(5)
    for number in range(200_000):
        limit.left(f"{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}.1", 1)
    assert len(limit._buckets) <= 1 << 16
    assert len(limit._of_client) <= 1 << 14
    limit.left("192.0.2.1", 2)
    assert len(limit._buckets) == 1


def front(zone: Zone, per_s: int, clock: Clock) -> Front:
    return Front(zone.responder, zone.counters, Cookies(bytes(32)), limit=RateLimit(per_s), clock=clock)


def test_beyond_the_limit_the_answer_is_the_question_and_tc(zone: Zone) -> None:
    clock = Clock()
    asked = front(zone, 2, clock)
    for use_edns in (-1, 0):
        clock.now_s += 1
        query = dns.message.make_query(NAME, "A", use_edns=use_edns)
        octets = query.to_wire()
        full = [asked.datagram(octets, "192.0.2.1") for _ in range(2)]
        assert all(answer is not None and len(dns.message.from_wire(answer).answer) == 1 for answer in full)
        limited = asked.datagram(octets, "192.0.2.99")
        assert limited is not None
        response = dns.message.from_wire(limited, raise_on_truncation=False)
        assert query.is_response(response)
        assert response.flags & dns.flags.TC
        assert [response.answer, response.authority, response.additional] == [[], [], []]
        assert len(limited) == len(octets)
        assert asked.datagram(octets, "198.51.100.1") == full[0]
        assert asked.message(octets, "192.0.2.1") == full[0]
    assert zone.counters.limited == 2


@pytest.mark.parametrize("garbage", [bytes(12), b"\0\1\x28\0" + bytes(8), b"\0\1\0\0\0\1" + bytes(6) + b"\xff" * 40])
def test_answers_to_garbage_count_and_are_never_larger_than_it(zone: Zone, garbage: bytes) -> None:
    asked = front(zone, 2, Clock())
    for _ in range(5):
        answer = asked.datagram(garbage, "192.0.2.1")
        assert answer is not None
        assert len(answer) <= len(garbage)
    assert zone.counters.limited == 3


KEY = TsigKey(name="otscert", algorithm="hmac-sha256", secret=bytes(32))


def signing_front(zone: Zone, per_s: int, clock: Clock, *keys: TsigKey) -> Front:
    signed = Transfers(zone, Keys(keys), answer=zone.answer, now_s=lambda: int(clock.now_s))
    limit = RateLimit(per_s) if per_s else None
    return Front(zone.responder, zone.counters, Cookies(bytes(32)), limit=limit, signed=signed, clock=clock)


def signed_query(key: TsigKey, clock: Clock, rtype: str = "SOA") -> bytes:
    plain = dns.message.make_query("boxes.example.com", rtype, use_edns=0).to_wire()
    return Signer(made(key), b"").sign(plain, now_s=int(clock.now_s))


@pytest.mark.parametrize("owner", [b"\xc0\x0c", b"\x03abc\x00"])
def test_an_answer_to_an_unknown_key_is_never_larger_than_the_query(zone: Zone, owner: bytes) -> None:
    asked = signing_front(zone, 2, Clock(), KEY)
    # RFC 8945 4.2: an algorithm, when, fudge, no MAC, an id, no error, no other data.
    rdata = b"\x03abc\0" + bytes(6) + b"\1\x2c" + bytes(8)
    query = bytearray(dns.message.make_query("a" * 63 + ".boxes.example.com", "SOA").to_wire())
    query[10:12] = b"\0\1"
    query += owner + b"\x00\xfa\x00\xff\0\0\0\0" + len(rdata).to_bytes(2) + rdata
    answers = [asked.datagram(bytes(query), "192.0.2.7") or b"" for _ in range(3)]
    assert [(answer[3] & 15, bool(answer[2] & 2)) for answer in answers] == [(NOTAUTH, False)] * 2 + [(0, True)]
    assert all(0 < len(answer) <= len(query) for answer in answers)


def test_a_key_that_nobody_has_is_refused_before_any_signature_is_computed(zone: Zone) -> None:
    clock = Clock()
    stranger = TsigKey(name="stranger", algorithm="hmac-sha256", secret=bytes(32))
    query = signed_query(stranger, clock)
    # A server without any key has nothing to compute a signature with; its answer is the same.
    assert signing_front(zone, 9, clock, KEY).datagram(query, "192.0.2.7") == signing_front(zone, 9, clock).datagram(
        query, "192.0.2.7"
    )


@pytest.mark.parametrize("secret", [bytes(32), b"another secret"], ids=["right", "wrong"])
def test_beyond_the_limit_a_signed_question_is_not_checked_but_sent_to_tcp(zone: Zone, secret: bytes) -> None:
    clock = Clock()
    asked = signing_front(zone, 2, clock, KEY)
    query = signed_query(TsigKey(name=KEY.name, algorithm=KEY.algorithm, secret=secret), clock)
    answers = [asked.datagram(query, "192.0.2.7") or b"" for _ in range(4)]
    assert [bool(answer[2] & 2) for answer in answers] == [False, False, True, True]
    assert answers[3] == zone.responder.truncated(query)
    assert zone.counters.limited == 2
    clock.now_s += 1
    assert not (asked.datagram(query, "192.0.2.7") or b"\0\0\2")[2] & 2


def test_who_asks_in_a_secondarys_name_does_not_lock_it_out_over_tcp(zone: Zone) -> None:
    clock = Clock()
    asked = signing_front(zone, 2, clock, KEY)
    wrong = signed_query(TsigKey(name=KEY.name, algorithm=KEY.algorithm, secret=b"another secret"), clock)
    for _ in range(50):
        asked.datagram(wrong, "192.0.2.7")
    soa = asked.message(signed_query(KEY, clock), "192.0.2.7")
    assert isinstance(soa, bytes)
    assert (soa[3] & 15, soa[7], soa[2] & 2) == (0, 1, 0)
    assert isinstance(asked.message(signed_query(KEY, clock, "AXFR"), "192.0.2.7"), AsyncGenerator)


def test_signed_datagrams_from_everywhere_have_a_limit_together(zone: Zone) -> None:
    clock = Clock()
    asked = signing_front(zone, 100, clock, KEY)
    query = signed_query(TsigKey(name="stranger", algorithm=KEY.algorithm, secret=bytes(32)), clock)
    answers = [asked.datagram(query, f"10.{number >> 8}.{number & 255}.1") or b"" for number in range(1100)]
    assert [bool(answer[2] & 2) for answer in answers] == [False] * 1000 + [True] * 100
    # What is not signed is another count.
    plain = dns.message.make_query(NAME, "A").to_wire()
    assert not (asked.datagram(plain, "10.9.9.1") or b"\0\0\2")[2] & 2
    unlimited = signing_front(zone, 0, clock, KEY)
    assert all(not (unlimited.datagram(query, "10.0.0.1") or b"\0\0\2")[2] & 2 for _ in range(1100))


def test_a_large_answer_costs_ten(zone: Zone) -> None:
    asked = front(zone, 20, Clock())
    for number in range(9):
        zone.put_txt("four", f"{number:043}")
    query = dns.message.make_query(f"_acme-challenge.{NAME}", "TXT", use_edns=0).to_wire()
    answers = [asked.datagram(query, "192.0.2.1") for _ in range(4)]
    assert [len(answer or b"") > 3 * len(query) for answer in answers] == [True, True, False, False]


def test_without_a_limit_nothing_is_counted(zone: Zone) -> None:
    asked = Front(zone.responder, zone.counters, Cookies(bytes(32)))
    query = dns.message.make_query(NAME, "A").to_wire()
    assert len({asked.datagram(query, "192.0.2.1") for _ in range(1000)}) == 1
    assert zone.counters.limited == 0


_CLIENTS = ("192.0.2.1", "192.0.2.250", "192.0.3.1", "2001:db8::1", "2001:db8:0:ff::2", "2001:db8:0:100::1")
_KINDS = ("A", "TXT", "ANY", "garbage")


@given(
    per_s=st.integers(1, 4),
    steps=st.lists(st.tuples(st.sampled_from(_CLIENTS), st.sampled_from(_KINDS), st.integers(0, 1)), max_size=60),
)
def test_no_network_gets_more_full_answers_in_a_second_than_the_limit(
    per_s: int, steps: list[tuple[str, str, int]]
) -> None:
    settings = ZoneSettings(origin="boxes.example.com", name_servers=("ns.example.net",), contact="h.example.com")
    zone, clock = Zone(settings), Clock()
    zone.put_txt("four", "value")
    asked = front(zone, per_s, clock)
    full: Counter[tuple[str, float]] = Counter()
    for client, kind, seconds in steps:
        clock.now_s += seconds
        query = bytes(40)
        if kind != "garbage":
            query = dns.message.make_query(f"_acme-challenge.{NAME}", kind).to_wire()
        answer = asked.datagram(query, client)
        assert answer is not None, "nobody is silenced"
        if not answer[2] & 0x02 and len(answer) > 12:
            full[network_text(client), clock.now_s] += 1
        assert len(answer) <= 3 * len(query) or not answer[2] & 0x02
    assert max(full.values(), default=0) <= per_s
