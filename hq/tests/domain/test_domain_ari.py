"""The rule of renewal with the CA's window: which moment counts, how urgent it is, which windows are not believed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otscert.domain.renewal import (
    ASK_AGAIN_S,
    LEAST_ASK_S,
    LONGEST_ASK_S,
    Lane,
    Window,
    ask_again_s,
    choose_moment,
    judge_renewal,
    why_unusable,
)

DAY_S = 86_400
LIFE_S = 90 * DAY_S


def days(start: float, end: float, *, at: float, told: float = 0) -> Window:
    return Window(
        start_s=round(start * DAY_S), end_s=round(end * DAY_S), at_s=round(at * DAY_S), told_s=round(told * DAY_S)
    )


# The life is 90 days: a third is left from day 60, half of that third from day 75.
@pytest.mark.parametrize(
    ("window", "now", "lane", "at", "words"),
    [
        (None, 59.9, Lane.NOT_DUE, 60, "enough"),
        (None, 60.1, Lane.ROUTINE, 60, "a third"),
        (None, 75.1, Lane.EMERGENCY, 60, "late"),
        (None, 90.1, Lane.EMERGENCY, 60, "expired"),
        (days(59, 61, at=59.5), 59.4, Lane.NOT_DUE, 59.5, "suggests a later window"),
        (days(59, 61, at=59.5), 59.6, Lane.ROUTINE, 59.5, "moment chosen"),
        (days(59, 61, at=59.5), 70, Lane.ROUTINE, 59.5, "moment chosen"),
        (days(59, 61, at=59.5), 75.1, Lane.EMERGENCY, 59.5, "late"),
        (days(59, 61, at=59.5), 90, Lane.EMERGENCY, 59.5, "expired"),
        # our moment is later than the last third's beginning: who calls then is not sent away
        (days(59, 61, at=60.5), 59.9, Lane.NOT_DUE, 60, "suggests a later window"),
        (days(59, 61, at=60.5), 60.1, Lane.ROUTINE, 60, "is open, and less than a third"),
        (days(59, 61, at=60.5), 60.6, Lane.ROUTINE, 60, "moment chosen"),
        # a window that has not begun is waited for
        (days(60.2, 61, at=60.5), 60.4, Lane.NOT_DUE, 60.5, "suggests a later window"),
        # earlier than we would, and nothing has happened to it
        (days(10, 12, at=11), 10.5, Lane.NOT_DUE, 11, "suggests a later window"),
        (days(10, 12, at=11), 11.5, Lane.ROUTINE, 11, "moment chosen"),
        # missed, by a box that was off: no incident
        (days(10, 12, at=11), 13, Lane.ROUTINE, 11, "moment chosen"),
        # over when it was named
        (days(9.9, 9.95, at=9.92, told=10), 10, Lane.INCIDENT, 10, "lies in the past"),
        (days(9.9, 9.95, at=9.92, told=10), 70, Lane.INCIDENT, 10, "lies in the past"),
        # both: what has less life left goes first
        (days(9.9, 9.95, at=9.92, told=10), 80, Lane.EMERGENCY, 10, "late; besides, the CA wants it"),
        (days(9.9, 9.95, at=9.92, told=10), 90, Lane.EMERGENCY, 10, "expired; besides, the CA wants it"),
        # HQ asked for the first time when the ordinary window was over: late, but the CA has not moved it
        (days(59, 61, at=60.5, told=65), 66, Lane.ROUTINE, 60, "moment chosen"),
        # named at a time that has not come: HQ's clock was ahead
        (days(9.9, 9.95, at=9.92, told=30), 8, Lane.NOT_DUE, 9.92, "suggests a later window"),
        # later than can be waited for
        (days(74, 80, at=74.9), 70, Lane.NOT_DUE, 74.9, "suggests a later window"),
        (days(74, 80, at=75.1), 59.9, Lane.NOT_DUE, 60, "too late to wait for"),
        (days(74, 80, at=75.1), 60.1, Lane.ROUTINE, 60, "too late to wait for"),
        (days(74, 90.1, at=74.5), 60.1, Lane.ROUTINE, 60, "too late to wait for"),
        (days(100, 110, at=105), 60.1, Lane.ROUTINE, 60, "too late to wait for"),
    ],
)
def test_what_is_due_when_and_why(window: Window | None, now: float, lane: Lane, at: float, words: str) -> None:
    decision = judge_renewal(not_before_s=0, not_after_s=LIFE_S, now_s=round(now * DAY_S), window=window)
    assert (decision.lane, decision.at_s) == (lane, round(at * DAY_S)), decision
    assert words in decision.reason
    assert decision.due is (lane is not Lane.NOT_DUE)


@given(
    st.integers(60, 2 * LIFE_S),
    st.integers(-LIFE_S, 3 * LIFE_S),
    st.integers(1, 2 * LIFE_S),
    st.integers(-LIFE_S, 3 * LIFE_S),
    st.floats(0, 0.9999),
)
def test_no_window_whatever_keeps_a_certificate_from_being_renewed_while_a_quarter_of_its_rest_is_left(
    life_s: int, start_s: int, width_s: int, told_s: int, dice: float
) -> None:
    window = choose_moment(start_s=start_s, end_s=start_s + width_s, kept=None, now_s=told_s, dice=dice)
    share = 2 if life_s < 10 * DAY_S else 3
    latest_s = life_s - (life_s // share) // 2
    assert judge_renewal(not_before_s=0, not_after_s=life_s, now_s=latest_s, window=window).due


@pytest.mark.parametrize(
    ("start", "end", "words"),
    [
        (30, 31, None),
        (-1, 0.1, None),  # revoked within the hour by which the CA backdates
        (89, 100, None),  # late, which judge_renewal knows to handle
        (31, 30, "after its start"),
        (30, 30, "after its start"),
        (0, 50 * 365, "longer than"),
        (-25 * 365, 25 * 365, "longer than"),
        (-1, -0.5, None),  # the same, of a CA that does not backdate
        (-3, -2, "before the certificate is valid"),
    ],
)
def test_windows_that_cannot_be_meant(start: float, end: float, words: str | None) -> None:
    reason = why_unusable(start_s=round(start * DAY_S), end_s=round(end * DAY_S), not_before_s=0, not_after_s=LIFE_S)
    assert (words in reason) if words and reason else reason is words


@given(st.integers(0, LIFE_S), st.integers(1, LIFE_S), st.floats(0, 0.999999), st.floats(0, 0.999999))
def test_the_moment_is_drawn_once_and_kept_while_it_lies_in_the_window(
    start_s: int, width_s: int, first: float, second: float
) -> None:
    drawn = choose_moment(start_s=start_s, end_s=start_s + width_s, kept=None, now_s=1, dice=first)
    assert start_s <= drawn.at_s <= start_s + width_s
    again = choose_moment(start_s=start_s, end_s=start_s + width_s, kept=drawn, now_s=2, dice=second)
    assert again == drawn
    wider = choose_moment(start_s=start_s - 1, end_s=start_s + width_s, kept=drawn, now_s=3, dice=second)
    assert (wider.at_s, wider.told_s) == (drawn.at_s, 3)
    later = drawn.end_s + 1
    moved = choose_moment(start_s=later, end_s=later + width_s, kept=drawn, now_s=4, dice=second)
    assert later <= moved.at_s <= later + width_s
    assert moved.told_s == 4


@pytest.mark.parametrize(
    ("retry_after_s", "least_s"),
    [(None, ASK_AGAIN_S), (0, LEAST_ASK_S), (59, LEAST_ASK_S), (7200, 7200), (604_800, LONGEST_ASK_S)],
)
def test_the_ca_is_asked_again_as_it_says_within_reason(retry_after_s: float | None, least_s: int) -> None:
    assert ask_again_s(retry_after_s, jitter=0) == least_s
    assert least_s <= ask_again_s(retry_after_s, jitter=0.999) <= least_s * 1.1
