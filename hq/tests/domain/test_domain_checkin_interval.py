"""When a box calls next: by its certificate's life, at the moment of renewal, in an incident, and once it was told."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otscert.domain.renewal import choose_moment, judge_renewal, next_checkin_s

HOUR_S = 3600
DAY_S = 24 * HOUR_S
SIX_HOURS_S = 6 * HOUR_S
SHORT_S = 160 * HOUR_S


@pytest.mark.parametrize(
    ("life_s", "due_in_s", "usual_s", "incident_s", "between"),
    [
        (None, None, SIX_HOURS_S, None, (19_440, 21_600)),
        (90 * DAY_S, 30 * DAY_S, SIX_HOURS_S, None, (19_440, 21_600)),
        (45 * DAY_S, 30 * DAY_S, DAY_S, None, (69_984, 77_760)),  # a fiftieth of 45 days is less than a day
        (SHORT_S, 50 * HOUR_S, SIX_HOURS_S, None, (10_368, 11_520)),  # 3.2 hours
        (120, None, SIX_HOURS_S, None, (54, 60)),  # a test's certificate of two minutes
        (90 * DAY_S, 1000, SIX_HOURS_S, None, (1001, 1301)),  # at the moment, and never before
        (90 * DAY_S, 1, SIX_HOURS_S, None, (2, 302)),
        (90 * DAY_S, None, SIX_HOURS_S, 200, (180, 200)),  # an incident concerns it
        (90 * DAY_S, 30 * DAY_S, SIX_HOURS_S, 200, (180, 200)),
        (90 * DAY_S, 0, SIX_HOURS_S, None, (54, 60)),  # told a moment ago
        (90 * DAY_S, -HOUR_S, SIX_HOURS_S, None, (162, 180)),
        (90 * DAY_S, -DAY_S, SIX_HOURS_S, None, (3888, 4320)),
        (90 * DAY_S, -30 * DAY_S, SIX_HOURS_S, None, (19_440, 21_600)),
        (90 * DAY_S, 0, SIX_HOURS_S, 20_000, (18_000, 20_000)),  # a million boxes are told together
        (90 * DAY_S, -DAY_S, SIX_HOURS_S, 60, (3888, 4320)),  # told long ago, in an incident of a few
        (90 * DAY_S, 0, 1, None, (1, 1)),  # a test's HQ
    ],
)
def test_when_a_box_calls_next(
    life_s: int | None, due_in_s: int | None, usual_s: int, incident_s: int | None, between: tuple[int, int]
) -> None:
    now_s = 10**9
    due_at_s = None if due_in_s is None else now_s + due_in_s
    waits = [
        next_checkin_s(
            life_s=life_s, due_at_s=due_at_s, now_s=now_s, usual_s=usual_s, jitter=jitter, incident_s=incident_s
        )
        for jitter in (0.0, 0.999999)
    ]
    assert between[0] <= waits[0] <= waits[1] <= between[1]


@given(
    st.integers(60, 400 * DAY_S),
    st.integers(-(10**8), 10**8),
    st.integers(61, 10**6),
    st.floats(0, 0.9999),
)
def test_no_box_calls_more_than_once_a_minute_or_sleeps_through_the_moment(
    life_s: int, due_in_s: int, usual_s: int, jitter: float
) -> None:
    wait_s = next_checkin_s(life_s=life_s, due_at_s=due_in_s, now_s=0, usual_s=usual_s, jitter=jitter)
    assert 1 <= wait_s <= usual_s + 301
    if due_in_s <= 0:
        assert wait_s >= 54
    elif due_in_s < min(usual_s, max(60, life_s // 50)):
        assert due_in_s < wait_s <= due_in_s + 301


def calls(life_s: int, at_s: int, *, dice: float, until_s: int) -> Iterator[int]:
    """When a box calls that never renews."""
    now_s = 0
    while now_s < until_s:
        yield now_s
        now_s += next_checkin_s(life_s=life_s, due_at_s=at_s, now_s=now_s, usual_s=SIX_HOURS_S, jitter=dice)


@pytest.mark.parametrize("dice", [0.0, 0.5, 0.9999])
def test_a_six_day_certificate_is_called_for_inside_its_window_of_three_hours(dice: float) -> None:
    width_s = SHORT_S // 50
    window = choose_moment(
        start_s=(SHORT_S - width_s) // 2, end_s=(SHORT_S + width_s) // 2, kept=None, now_s=0, dice=dice
    )
    told = next(
        now_s
        for now_s in calls(SHORT_S, window.at_s, dice=dice, until_s=SHORT_S)
        if judge_renewal(not_before_s=0, not_after_s=SHORT_S, now_s=now_s, window=window).due
    )
    assert window.start_s <= told <= window.end_s
    # A window that the CA moves into the past is heard of within a fiftieth of the life.
    before = list(calls(SHORT_S, window.at_s, dice=dice, until_s=told + 1))
    assert max(later - sooner for sooner, later in itertools.pairwise(before)) <= width_s + 300
    assert len(before) <= 30


def test_a_box_that_does_nothing_is_told_ever_more_seldom() -> None:
    due_s = 60 * DAY_S
    told = [at_s for at_s in calls(90 * DAY_S, due_s, dice=0.5, until_s=75 * DAY_S) if at_s >= due_s]
    gaps = [later - sooner for sooner, later in itertools.pairwise(told)]
    assert gaps[0] <= 60
    assert gaps == sorted(gaps)
    assert len(told) < 200  # in fifteen days; one a minute would be 21,600
