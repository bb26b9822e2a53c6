"""Mutated packets to all that stands in front of the zone: cookies, signatures, transfers, the rate limit.

The zone's own answers get a million in `test_zone_fuzz.py`; OTSCERT_TEST_FUZZ_PACKETS asks for more here too.
"""

from __future__ import annotations

import os
import tracemalloc

import pytest

from tests.zone.served import example_zone
from tests.zone.targets import mutated, targets

PACKETS = int(os.environ.get("OTSCERT_TEST_FUZZ_PACKETS", "12000"))


@pytest.mark.timeout(600)
def test_mutated_packets_are_answered_within_their_limit_and_leave_nothing_behind() -> None:
    front = targets(example_zone())["front"]
    for packet in mutated(5_000, seed=1):
        front(packet)
    tracemalloc.start()
    try:
        for packet in mutated(2_000, seed=2):
            front(packet)
        before, _ = tracemalloc.get_traced_memory()
        for packet in mutated(3_000, seed=3):
            front(packet)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 200_000
    for packet in mutated(PACKETS, seed=20261123):
        front(packet)


@pytest.mark.parametrize("name", ["responder", "cookie", "edns", "stream"])
def test_every_target_of_the_fuzzer_stands_mutated_packets(name: str) -> None:
    target = targets()[name]
    for packet in mutated(3_000, seed=4):
        target(packet)
        target(packet[12:52])
