from __future__ import annotations

import itertools

import pytest

from otscert.domain import breaker
from otscert.domain.breaker import MOVES, WELL, Breaker, BreakerEvent, BreakerState, answered, failed, move, tried
from otscert.domain.errors import IllegalMove

NOW_S = 1_800_000_000


def fails(count: int, *, from_s: int, every_s: int, state: Breaker = WELL) -> Breaker:
    for number in range(count):
        state = failed(state, reason="refused", now_s=from_s + number * every_s)
    return state


def test_the_table_names_every_legal_move_and_no_other() -> None:
    for state, event in itertools.product(BreakerState, BreakerEvent):
        if (state, event) in MOVES:
            assert move(state, event) is MOVES[state, event]
        else:
            with pytest.raises(IllegalMove):
                move(state, event)
    assert {state for state, _ in MOVES} == set(BreakerState)
    for state in BreakerState:  # a certificate closes it from everywhere it can come from
        assert MOVES.get((state, BreakerEvent.SUCCEED), BreakerState.CLOSED) is BreakerState.CLOSED


@pytest.mark.parametrize(
    ("count", "every_s", "state"),
    [
        (1, 0, BreakerState.CLOSED),
        (4, 3600, BreakerState.CLOSED),  # too few
        (100, 0, BreakerState.CLOSED),  # all at once, as when one connection is lost
        (5, 2, BreakerState.CLOSED),  # 8 s
        (5, 3, BreakerState.OPEN),
        (6, 2, BreakerState.OPEN),
    ],
)
def test_it_opens_after_five_failures_over_ten_seconds(count: int, every_s: int, state: BreakerState) -> None:
    after = fails(count, from_s=NOW_S, every_s=every_s)
    assert after.state(NOW_S + (count - 1) * every_s) is state
    assert (after.failures, after.failing_since_s) == (count, NOW_S)


def test_it_rests_longer_the_longer_it_fails_but_never_long() -> None:
    state, now_s, rests = fails(5, from_s=NOW_S, every_s=3), NOW_S + 12, []
    for _ in range(12):
        assert state.state(now_s) is BreakerState.OPEN
        rests.append(state.open_until_s - now_s)
        now_s = state.open_until_s
        assert state.state(now_s) is BreakerState.HALF_OPEN
        state = failed(tried(state, now_s=now_s), reason="still", now_s=now_s)
    assert rests == sorted(rests)
    assert (rests[0], rests[-1]) == (breaker.LEAST_REST_S, breaker.LONGEST_REST_S)


def test_one_order_tries_and_the_others_wait_for_it_but_not_for_ever() -> None:
    state = fails(5, from_s=NOW_S, every_s=3)
    at_s = state.open_until_s
    trying = tried(state, now_s=at_s)
    assert trying.state(at_s + 1) is BreakerState.OPEN
    assert trying.state(at_s + breaker.PROBE_S) is BreakerState.HALF_OPEN  # it was killed: the next one
    assert answered(trying, now_s=at_s + 1).state(at_s + 1) is BreakerState.HALF_OPEN  # refused in ACME's words
    assert answered(WELL, now_s=at_s) is WELL


def test_an_account_that_needs_a_person_opens_it_at_once() -> None:
    state = breaker.needs_person(WELL, reason="terms", now_s=NOW_S)
    assert state.state(NOW_S) is BreakerState.OPEN
    assert state.state(NOW_S + breaker.ACCOUNT_REST_S) is BreakerState.HALF_OPEN


def test_a_clock_that_was_ahead_does_not_keep_it_shut() -> None:
    state = fails(5, from_s=NOW_S + 400 * 86400, every_s=3)
    assert state.state(NOW_S) is BreakerState.HALF_OPEN
    after = failed(state, reason="still", now_s=NOW_S)
    assert after.failing_since_s == NOW_S


def test_orders_that_were_under_way_and_fail_for_ever_do_not_make_it_rest_for_ever() -> None:
    state, tries = fails(5, from_s=NOW_S, every_s=3), 0
    for now_s in range(NOW_S + 13, NOW_S + 86400):
        if now_s % 90 == 0:  # a few that are being finalized, and whose URL alone answers 500
            state = failed(state, reason="500", now_s=now_s)
        if state.state(now_s) is BreakerState.HALF_OPEN:
            state, tries = tried(state, now_s=now_s), tries + 1
    assert tries > 86400 / (2 * breaker.LONGEST_REST_S)


def test_orders_that_meet_a_lost_account_again_and_again_do_not_make_it_rest_for_ever() -> None:
    state, tries = breaker.needs_person(WELL, reason="lost", now_s=NOW_S), 0
    for now_s in range(NOW_S + 1, NOW_S + 86400):
        if now_s % 60 == 0:  # those that were under way when the account was lost
            state = breaker.needs_person(state, reason="lost", now_s=now_s, again=True)
        if state.state(now_s) is BreakerState.HALF_OPEN:
            state, tries = tried(state, now_s=now_s), tries + 1
    assert 86400 / breaker.ACCOUNT_REST_S <= tries <= 86400 / breaker.PROBE_S
    other = breaker.needs_person(state, reason="paused", now_s=NOW_S + 86400)
    assert other.open_until_s == NOW_S + 86400 + breaker.ACCOUNT_REST_S
