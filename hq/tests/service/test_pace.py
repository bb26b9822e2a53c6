from __future__ import annotations

import pytest

from otscert.service.pace import LONGEST_S, Pace


def test_a_new_pace_asks_at_once() -> None:
    assert Pace().least_s(0) == Pace().least_s(3) == 0


def test_a_steady_ca_is_asked_shortly_before_it_is_done() -> None:
    pace = Pace()
    for _ in range(50):
        pace.took(5.0)
    assert pace.least_s(0) == pytest.approx(4.0, abs=0.01)
    assert pace.least_s(1) == pytest.approx(1.25, abs=0.01)


def test_a_ca_that_became_quicker_is_soon_asked_sooner() -> None:
    pace = Pace(expected_s=5.0)
    for _ in range(20):
        pace.took(pace.least_s(0))  # it was done by the first look, whenever that was
    assert pace.least_s(0) < 2.0


def test_one_stuck_order_does_not_make_the_others_wait_for_long() -> None:
    pace = Pace()
    pace.took(3600.0)
    assert pace.least_s(0) <= LONGEST_S * 0.2
