"""Which issuer an order goes to: every reason, as a table."""

from __future__ import annotations

from dataclasses import replace

import pytest

from otscert.domain.breaker import WELL, Breaker
from otscert.domain.choice import Candidate, Case, Choice, Trouble, choose_issuer, patience_s
from otscert.domain.order import OrderState

NOW_S = 1_800_000_000
HOUR_S, DAY_S = 3600, 86400


def resting(*, since: int, until: int) -> Breaker:
    """Open for `until` more seconds, failing for `since`."""
    return Breaker(failures=9, failing_since_s=NOW_S - since, open_until_s=NOW_S + until, reason="connection refused")


BLIP = resting(since=15, until=30)
DOWN = resting(since=600, until=300)
HALF = resting(since=600, until=0)
AGES = resting(since=2 * DAY_S, until=500)
A, B = Candidate(name="a", breaker=WELL), Candidate(name="b", breaker=WELL)
FIRST_BOOT = Case(state=OrderState.WAITING, issuer="a")
ROUTINE = replace(FIRST_BOOT, left_s=15 * DAY_S)
LATE = replace(FIRST_BOOT, left_s=HOUR_S - 1)


def has(candidate: Candidate, breaker: Breaker = WELL, *, problem: str = "", wait_s: int = 0) -> Candidate:
    return replace(candidate, breaker=breaker, account_problem=problem, wait_s=wait_s)


def chosen(case: Case, *candidates: Candidate) -> Choice:
    return choose_issuer(case, candidates, now_s=NOW_S)


@pytest.mark.parametrize(
    ("left_s", "expected_s"),
    [(None, 60), (-5, 60), (0, 60), (HOUR_S, 180), (15 * DAY_S, 18 * HOUR_S), (80 * HOUR_S, 4 * HOUR_S)],
)
def test_patience_follows_what_is_left_of_the_life(left_s: int | None, expected_s: int) -> None:
    assert patience_s(left_s) == expected_s
    assert patience_s(400 * DAY_S) == DAY_S


@pytest.mark.parametrize(
    ("case", "candidates", "name", "wait_s", "says"),
    [
        # ---- whose turn has come
        (FIRST_BOOT, (A, B), "a", 0, "preferred"),
        (FIRST_BOOT, (has(A, BLIP), B), "a", 30, "has failed for 15 s"),  # soon over, as far as anybody knows
        (FIRST_BOOT, (has(A, DOWN), B), "b", 0, "connection refused"),
        (ROUTINE, (has(A, DOWN), B), "a", 300, "has failed for 600 s"),  # there is time
        (ROUTINE, (has(A, AGES), B), "b", 0, "connection refused"),
        (LATE, (has(A, DOWN), B), "b", 0, "connection refused"),
        (FIRST_BOOT, (has(A, DOWN), has(B, AGES)), "a", 300, "a has failed"),  # the one that can be asked first
        (FIRST_BOOT, (has(A, AGES), has(B, DOWN)), "b", 300, "a has failed"),
        (FIRST_BOOT, (has(A, DOWN),), "a", 300, "a has failed"),
        # ---- the account
        (ROUTINE, (has(A, DOWN, problem="lost"), B), "b", 0, "needs a person (lost)"),
        (FIRST_BOOT, (has(A, DOWN, problem="terms"),), None, 300, "needs a person (terms)"),
        (FIRST_BOOT, (has(A, DOWN, problem="terms"), has(B, BLIP, problem="lost")), None, 30, "(lost)"),
        (FIRST_BOOT, (has(A, WELL, problem="paused"), B), "a", 0, "preferred"),  # some names only: others go on
        # ---- the limits
        (FIRST_BOOT, (has(A, wait_s=50), B), "a", 50, "limits of a"),
        (FIRST_BOOT, (has(A, wait_s=7200), B), "b", 0, "limits of a would make it wait 7200 s"),
        (ROUTINE, (has(A, wait_s=7200), B), "a", 7200, "limits of a"),
        (LATE, (has(A, wait_s=7200), B), "b", 0, "limits of a"),
        (FIRST_BOOT, (has(A, wait_s=7200), has(B, wait_s=600)), "b", 600, "limits of a"),
        (FIRST_BOOT, (has(A, wait_s=7200), has(B, DOWN, problem="lost")), "a", 7200, "(lost)"),
        # ---- an order that was moved stays, unless it cannot
        (replace(FIRST_BOOT, issuer="b"), (A, B), "b", 0, "preferred"),
        (replace(FIRST_BOOT, issuer="b"), (A, has(B, DOWN)), "a", 0, "preferred"),
        (replace(ROUTINE, issuer="b"), (A, has(B, BLIP)), "a", 0, "preferred"),
        (replace(ROUTINE, issuer="gone"), (A, B), "a", 0, "preferred"),
        (FIRST_BOOT, (), None, 60, "no issuer"),
    ],
)
def test_who_is_asked(case: Case, candidates: tuple[Candidate, ...], name: str | None, wait_s: int, says: str) -> None:
    found = chosen(case, *candidates)
    assert (found.name, found.wait_s, found.trial) == (name, wait_s, False)
    assert says in found.reason


@pytest.mark.parametrize("case", [FIRST_BOOT, ROUTINE])
def test_one_order_tries_whether_an_issuer_works_again(case: Case) -> None:
    found = chosen(case, has(A, HALF), B)
    assert (found.name, found.wait_s, found.trial) == ("a", 0, True)
    assert "tries" in found.reason


def test_an_order_with_little_life_left_does_not_try_for_the_others() -> None:
    assert chosen(LATE, has(A, HALF), B).name == "b"
    alone = chosen(LATE, has(A, HALF))  # unless nobody else is there
    assert (alone.name, alone.trial) == ("a", True)


def test_it_goes_back_to_the_preferred_issuer_that_is_well_again() -> None:
    """A renewal is a new order: it begins with the first of the model's issuers."""
    assert chosen(ROUTINE, A, B).name == "a"


UNDER_WAY = [OrderState.CREATING, OrderState.CREATED, OrderState.PUBLISHED]


@pytest.mark.parametrize("state", UNDER_WAY)
@pytest.mark.parametrize(
    ("trouble", "since_s", "left_s", "name"),
    [
        (Trouble.NONE, None, None, "a"),
        (Trouble.ORDER, 600, None, "a"),  # DNS is ours: no other CA would find it better
        (Trouble.LIMIT, 600, None, "a"),
        (Trouble.ISSUER, 0, None, "a"),  # the first failure
        (Trouble.ISSUER, 61, None, "b"),
        (Trouble.ISSUER, 61, 15 * DAY_S, "a"),
        (Trouble.ISSUER, 19 * HOUR_S, 15 * DAY_S, "b"),
        (Trouble.ISSUER, 61, 1200, "b"),
        (Trouble.ACCOUNT, 0, 15 * DAY_S, "b"),
        (Trouble.PAUSED, 0, 15 * DAY_S, "b"),
        (Trouble.REFUSED, 0, 15 * DAY_S, "b"),
    ],
)
def test_an_order_under_way_moves_for_its_issuers_faults_only(
    state: OrderState, trouble: Trouble, since_s: int | None, left_s: int | None, name: str
) -> None:
    since = None if since_s is None else NOW_S - since_s
    case = Case(state=state, issuer="a", failing_since_s=since, trouble=trouble, left_s=left_s)
    assert chosen(case, A, B).name == name
    assert chosen(case, A).name in {"a", None}


@pytest.mark.parametrize("trouble", list(Trouble))
@pytest.mark.parametrize("state", [OrderState.FINALIZING, OrderState.ISSUED, OrderState.FAILED])
def test_nobody_else_is_asked_once_a_certificate_may_have_been_asked_for(state: OrderState, trouble: Trouble) -> None:
    case = Case(state=state, issuer="a", failing_since_s=NOW_S - 9 * DAY_S, trouble=trouble, left_s=60)
    for breaker in (WELL, AGES):
        assert chosen(case, has(A, breaker, problem="lost"), B).name == "a"


def test_refusals_lead_down_the_list_and_come_to_an_end() -> None:
    refused = Case(state=OrderState.CREATING, issuer="b", trouble=Trouble.REFUSED)
    end = chosen(refused, A, B)
    assert (end.name, end.reason) == ("b", "no other issuer is left to ask")
    third = Candidate(name="c", breaker=WELL)
    assert chosen(refused, A, B, third).name == "c"
    assert chosen(replace(refused, issuer="gone"), A, B).name == "a"


def test_an_order_under_way_at_an_issuer_that_was_taken_out_moves() -> None:
    case = Case(state=OrderState.PUBLISHED, issuer="gone", left_s=15 * DAY_S)
    assert chosen(case, A, B).name == "a"
