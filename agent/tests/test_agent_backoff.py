from __future__ import annotations

import pytest

from otscert_agent.backoff import Backoff


def test_waits_double_up_to_the_cap_and_are_spread_over_the_whole_span() -> None:
    ceilings = [min(3600.0, 2.0**n) for n in range(40)]
    rows = [[Backoff(b"box%d" % box).next_s()] for box in range(200)]
    for box, row in enumerate(rows):
        backoff = Backoff(b"box%d" % box)
        row[:] = [backoff.next_s() for _ in ceilings]
    for n, ceiling in enumerate(ceilings):
        column = [row[n] for row in rows]
        assert max(column) <= ceiling
        assert min(column) < 0.05 * ceiling
        assert max(column) > 0.95 * ceiling


def test_a_box_never_comes_earlier_than_hq_asked_and_not_much_later() -> None:
    waits = {Backoff(b"box%d" % box).next_s(600) for box in range(50)}
    assert all(600 <= wait <= 601 for wait in waits)
    assert len(waits) > 40


def test_a_success_begins_the_row_anew() -> None:
    backoff = Backoff(b"key")
    for _ in range(20):
        backoff.next_s()
    backoff.reset()
    assert backoff.next_s() <= 1.0


def test_the_same_box_draws_the_same_row_and_another_box_another_one() -> None:
    rows = [[Backoff(key).fraction() for _ in range(1)] for key in (b"a", b"a", b"b")]
    assert rows[0] == rows[1] != rows[2]


@pytest.mark.parametrize("failures", [0, 1000, 100_000])
def test_years_of_failures_do_not_overflow(failures: int) -> None:
    backoff = Backoff(b"key")
    backoff._failures = failures
    assert 0 <= backoff.next_s() <= 3600
    assert 1800 <= backoff.longest_s() <= 3600
