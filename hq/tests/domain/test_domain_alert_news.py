"""What is told of what holds: when, how often, and when it is over."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otscert.domain.alert_news import Change, Known, Outcome, reconcile, well_needed_s
from otscert.domain.alert_texts import TEXTS
from otscert.domain.alerts import DAY_S, HOUR_S, MINUTE_S, Alert, Kind, Severity

START_S = 2_000_000_000
BUDGET = Alert(
    kind=Kind.BUDGET_SHORT, subject="ca", severity=Severity.WARNING, since_s=START_S - HOUR_S, count=1, what="short"
)
LATE = replace(BUDGET, kind=Kind.RENEWAL_LATE, subject="", what="late")
MOST_A_DAY = 16
"""Seven times open and six times over, by the growing time that it must be well, and two daily repetitions."""


class Story:
    """Looks, one after the other, each with what holds then."""

    def __init__(self, rows: Iterable[Known] = ()) -> None:
        self.rows = {row.alert.key: row for row in rows}

    def look(self, at_s: int, *holding: Alert) -> list[Change]:
        outcome: Outcome = reconcile(self.rows.values(), holding, now_s=at_s)
        self.rows.update({row.alert.key: row for row in outcome.put})
        for key in outcome.forget:
            del self.rows[key]
        return [news.change for news in outcome.news]

    def minutes(self, start_s: int, count: int, *holding: Alert) -> list[Change]:
        return [change for number in range(count) for change in self.look(start_s + number * MINUTE_S, *holding)]


def test_what_is_wrong_is_told_once_and_repeated_daily() -> None:
    story = Story()
    assert story.look(START_S, BUDGET) == [Change.OPENED]
    assert story.minutes(START_S + 60, 24 * 60 - 2, BUDGET) == []
    assert story.look(START_S + DAY_S, BUDGET) == [Change.STILL]
    assert story.minutes(START_S + DAY_S + 60, 24 * 60 - 2, BUDGET) == []


def test_some_kinds_must_last_before_anybody_is_told_and_a_short_one_is_forgotten() -> None:
    story, hold_s = Story(), TEXTS[Kind.RENEWAL_LATE].hold_s
    assert story.look(START_S, LATE) == []
    assert story.look(START_S + hold_s - 1, LATE) == []
    assert story.look(START_S + hold_s, LATE) == [Change.OPENED]
    other = Story()
    assert other.look(START_S, LATE) == []
    assert other.look(START_S + 60) == []
    assert other.rows == {}


def test_it_is_over_when_it_has_been_well_for_ten_minutes_and_that_is_told_once() -> None:
    story = Story()
    story.look(START_S, BUDGET)
    assert story.minutes(START_S + 60, 10) == []
    assert story.look(START_S + 11 * 60) == [Change.OVER]
    assert story.look(START_S + 12 * 60) == []
    (row,) = story.rows.values()
    assert (row.well_s, row.over_s) == (START_S + 60, START_S + 11 * 60)


def test_a_minute_of_calm_changes_nothing() -> None:
    story = Story()
    story.look(START_S, BUDGET)
    for number in range(1, 200):
        holding = () if number % 5 else (BUDGET,)
        assert story.look(START_S + number * 60, *holding) == []


def test_what_comes_back_within_an_hour_is_the_same_alert_and_keeps_its_age() -> None:
    story = Story()
    story.look(START_S, BUDGET)
    story.minutes(START_S + 60, 12)
    back = replace(BUDGET, since_s=START_S + 40 * 60)
    assert story.look(START_S + 40 * 60, back) == [Change.BACK]
    assert story.rows[BUDGET.key].alert.since_s == BUDGET.since_s


def test_what_comes_back_later_on_the_day_is_new_but_must_be_well_for_longer() -> None:
    story = Story()
    story.look(START_S, BUDGET)
    story.minutes(START_S + 60, 12)
    later = replace(BUDGET, since_s=START_S + 5 * HOUR_S)
    assert story.look(START_S + 5 * HOUR_S, later) == [Change.BACK]
    assert story.rows[BUDGET.key].alert.since_s == later.since_s
    assert story.minutes(START_S + 5 * HOUR_S + 60, 40) == []
    assert story.look(START_S + 5 * HOUR_S + 41 * 60) == [Change.OVER]
    next_day_s = START_S + 30 * HOUR_S
    assert story.look(next_day_s, replace(BUDGET, since_s=next_day_s)) == [Change.OPENED]


def test_the_time_that_it_must_be_well_grows_to_six_hours() -> None:
    assert [well_needed_s(times) // 60 for times in range(6)] == [10, 40, 160, 360, 360, 360]
    assert well_needed_s(10**6) == 6 * HOUR_S


def test_what_gets_worse_is_told_at_once_but_what_gets_better_is_not() -> None:
    story = Story()
    story.look(START_S, BUDGET)
    worse = replace(BUDGET, severity=Severity.CRITICAL)
    assert story.look(START_S + 60, worse) == [Change.WORSE]
    assert story.look(START_S + 120, BUDGET) == []
    assert story.look(START_S + 180, worse) == []


def test_ten_times_as_many_boxes_are_news() -> None:
    story = Story()
    story.look(START_S, BUDGET)
    assert story.look(START_S + 60, replace(BUDGET, count=9)) == []
    assert story.look(START_S + 120, replace(BUDGET, count=10)) == [Change.WORSE]
    assert story.look(START_S + 180, replace(BUDGET, count=99)) == []
    assert story.look(START_S + 240, replace(BUDGET, count=10_000)) == [Change.WORSE]


def test_what_is_over_is_forgotten_after_two_days() -> None:
    story = Story()
    story.look(START_S, BUDGET)
    story.minutes(START_S + 60, 12)
    assert len(story.rows) == 1
    story.look(START_S + 3 * DAY_S)
    assert story.rows == {}


def test_ten_thousand_late_boxes_are_one_piece_of_news() -> None:
    story, many = Story(), replace(LATE, count=10_000)
    assert story.minutes(START_S, 60, many) == [Change.OPENED]


@pytest.mark.parametrize("back_s", [HOUR_S, DAY_S, 400 * DAY_S])
def test_a_clock_that_is_set_back_neither_silences_nor_storms(back_s: int) -> None:
    story = Story()
    story.look(START_S, BUDGET)
    story.minutes(START_S + 60, 3)
    earlier_s = START_S - back_s
    assert len(story.minutes(earlier_s, 30, BUDGET)) <= 1
    assert Change.OVER in story.minutes(earlier_s + 30 * 60, 20)
    other = Story()
    other.look(START_S, LATE)
    assert Change.OPENED in other.minutes(earlier_s, 10, LATE)


def test_a_clock_that_jumps_a_day_ahead_repeats_once() -> None:
    story = Story()
    story.look(START_S, BUDGET)
    assert story.minutes(START_S + DAY_S + 60, 30, BUDGET) == [Change.STILL]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 400), st.booleans()), min_size=1, max_size=300), st.sampled_from(Kind))
def test_whatever_flaps_is_told_a_bounded_number_of_times_a_day(spans: list[tuple[int, bool]], kind: Kind) -> None:
    """Spans of minutes, well or not; each day of looks is counted."""
    alert, story, at_s = replace(BUDGET, kind=kind), Story(), START_S
    told: list[int] = []
    for length, holds in spans:
        for _ in range(min(length, 60)):
            told += [at_s] * len(story.look(at_s, *([alert] if holds else [])))
            at_s += 2 * MINUTE_S
    assert all(sum(first <= each < first + DAY_S for each in told) <= MOST_A_DAY for first in told)


@pytest.mark.parametrize("period", range(2, 240, 7))
def test_no_rhythm_makes_a_storm(period: int) -> None:
    story, told = Story(), 0
    for minute in range(24 * 60):
        holding = (BUDGET,) if minute // period % 2 == 0 else ()
        told += len(story.look(START_S + minute * 60, *holding))
    assert 1 <= told <= MOST_A_DAY
