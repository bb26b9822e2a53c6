from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otscert.acme.polling import next_poll_s


def test_without_retry_after_polls_start_at_20_ms_and_grow_by_half() -> None:
    waits = [next_poll_s(attempt, None) for attempt in range(4)]
    assert waits == pytest.approx([0.02, 0.03, 0.045, 0.0675])


@pytest.mark.parametrize(("jitter", "wait_s"), [(0.0, 1.0), (0.5, 2.0), (1.0, 3.0), (7.0, 3.0)])
def test_after_a_second_polls_are_one_to_three_seconds_apart(jitter: float, wait_s: float) -> None:
    assert next_poll_s(10, None, jitter) == wait_s
    assert next_poll_s(10_000, None, jitter) == wait_s


def test_the_quick_polls_take_less_than_three_seconds_together() -> None:
    assert sum(next_poll_s(attempt, None) for attempt in range(10)) < 3.0


@pytest.mark.parametrize(("asked_s", "wait_s"), [(3.0, 3.0), (0.0, 0.02), (604_800.0, 3600.0)])
def test_what_the_ca_asks_for_is_obeyed_from_20_ms_to_an_hour(asked_s: float, wait_s: float) -> None:
    assert next_poll_s(0, asked_s) == next_poll_s(99, asked_s) == wait_s


@given(st.integers(), st.none() | st.floats(0, 604_800), st.floats(0, 1))
def test_a_wait_is_never_outside_20_ms_to_an_hour(attempt: int, asked_s: float | None, jitter: float) -> None:
    assert 0.02 <= next_poll_s(attempt, asked_s, jitter) <= 3600.0
