"""What the zone remembers is bounded, whatever strangers ask."""

from __future__ import annotations

from ipaddress import ip_address

import dns.message
import pytest

from otscert.domain.addresses import DEFAULT_POLICY
from otscert.zones.cache import AnswerCache, Remembered
from otscert.zones.zone import Zone

ANSWER = Remembered(b"", 0, b"", [0], [True])


def names_in(cache: AnswerCache) -> int:
    return len(cache.recent) + len(cache._older)


def test_the_oldest_names_go_when_two_generations_are_full() -> None:
    cache = AnswerCache(entries_per_generation=10)
    for number in range(25):
        cache.remember(b"%d" % number, b"", ANSWER)
    assert names_in(cache) == 15
    assert list(cache.recent) == [b"20", b"21", b"22", b"23", b"24"]


def test_a_name_that_is_asked_again_outlives_its_generation() -> None:
    cache = AnswerCache(entries_per_generation=10)
    cache.remember(b"kept", b"A", ANSWER)
    for number in range(12):
        cache.remember(b"%d" % number, b"", ANSWER)
    cache.remember(b"kept", b"AAAA", ANSWER)
    assert set(cache.recent[b"kept"]) == {b"A", b"AAAA"}
    assert b"kept" not in cache._older


def test_a_forgotten_name_is_forgotten_in_both_generations() -> None:
    cache = AnswerCache(entries_per_generation=2)
    for name in (b"a", b"b", b"c"):
        cache.remember(name, b"", ANSWER)
    for name in (b"a", b"c"):
        cache.forget(name)
    assert (cache.recent, cache._older) == ({}, {b"b": {b"": ANSWER}})


def test_one_name_asked_in_endless_ways_does_not_grow_without_bound() -> None:
    cache = AnswerCache(entries_per_generation=300)
    for number in range(10_000):
        cache.remember(b"one", b"%d" % number, ANSWER._replace(stands=[True]))
        answers = [len(each) for generation in (cache.recent, cache._older) for each in generation.values()]
        assert sum(answers) <= 2 * 300


@pytest.mark.parametrize(
    ("name", "rtype"), [("unknown.boxes.example.com", "A"), ("four.boxes.example.com", "TYPE999"), ("org", "A")]
)
def test_what_strangers_choose_is_not_remembered(zone: Zone, name: str, rtype: str) -> None:
    zone.answer(dns.message.make_query(name, rtype).to_wire(), size_limit=1232)
    assert names_in(zone._cache) == 0


@pytest.mark.parametrize("use_edns", [-1, 0])
def test_a_query_with_octets_of_its_own_is_not_remembered(zone: Zone, use_edns: int) -> None:
    plain = dns.message.make_query("four.boxes.example.com", "A", use_edns=use_edns).to_wire()
    zone.answer(plain + b"junk", size_limit=1232)
    assert names_in(zone._cache) == 0
    zone.answer(plain, size_limit=1232)
    assert names_in(zone._cache) == 1


@pytest.mark.parametrize("name", ["four.boxes.example.com", "FoUr.Boxes.eXample.COM"])
def test_a_remembered_name_is_not_looked_up_again_in_any_case(zone: Zone, name: str) -> None:
    zone.answer(dns.message.make_query("four.boxes.example.com", "A").to_wire(), size_limit=1232)
    zone._content._boxes.clear()
    assert zone.answer(dns.message.make_query(name, "A").to_wire(), size_limit=1232) is not None


def test_a_change_after_a_generation_passed_is_still_seen(zone: Zone) -> None:
    query = dns.message.make_query("four.boxes.example.com", "A").to_wire()
    zone._cache._entries_per_generation = 2
    zone.answer(query, size_limit=1232)
    zone.answer(dns.message.make_query("both.boxes.example.com", "A").to_wire(), size_limit=1232)
    assert zone._cache.recent == {}
    zone.activate("four", [ip_address("10.7.7.7")], DEFAULT_POLICY)
    answer = zone.answer(query, size_limit=1232)
    assert answer is not None
    assert str(dns.message.from_wire(answer).answer[0][0]) == "10.7.7.7"
