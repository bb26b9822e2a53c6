from __future__ import annotations

from typing import Any

import pytest
from hq.tests.store.rows import unit

from otscert.domain.unit import (
    MOST_NEW_NAMES,
    NAMES_WITHIN_S,
    UnitState,
    UnitVerdict,
    judge_name,
    judge_unit,
)

V = UnitVerdict
NOW_S = 10**9
MONTH_S = NAMES_WITHIN_S


@pytest.mark.parametrize(
    ("changes", "verdict", "words"),
    [
        ({}, V.PASS, "a stamped unit"),
        ({"fingerprint": "mine"}, V.PASS, "a stamped unit"),
        ({"fingerprint": "other"}, V.QUARANTINE, "another board than before"),
        ({"state": UnitState.QUARANTINED}, V.REFUSE, "is quarantined; HQ's operator decides"),
        ({"state": UnitState.QUARANTINED, "fingerprint": "other"}, V.REFUSE, "otscert device rearm"),
        ({"state": UnitState.CONFIRMED, "fingerprint": "mine"}, V.PASS, "a stamped unit"),
        ({"state": UnitState.CONFIRMED, "fingerprint": "other"}, V.REFUSE, "operator confirmed"),
        ({"state": UnitState.BLOCKED}, V.REFUSE, "taken out of service"),
        ({"state": UnitState.BLOCKED, "fingerprint": "other"}, V.REFUSE, "taken out of service"),
    ],
)
def test_a_unit_is_let_through_from_its_own_board_only(
    changes: dict[str, Any], verdict: UnitVerdict, words: str
) -> None:
    decision = judge_unit(unit(**changes), fingerprint="mine")
    assert decision.verdict is verdict
    assert words in decision.reason


@pytest.mark.parametrize(
    ("ages_s", "new_name"),
    [
        ([], True),
        ([0], True),
        ([0, 0], False),
        ([MONTH_S - 1, 0], False),
        ([MONTH_S, 0], True),
        ([MONTH_S + 1, MONTH_S], True),
        ([10 * MONTH_S, 2 * MONTH_S, 5, 1], False),
        ([-60, -60], False),  # a clock that was set back does not give names away
    ],
)
def test_two_new_names_in_thirty_days(ages_s: list[int], new_name: bool) -> None:  # noqa: FBT001 - a column of the table
    decision = judge_name([NOW_S - age_s for age_s in ages_s], now_s=NOW_S)
    assert decision.new_name is new_name
    assert decision.reason


def test_the_refusal_says_how_many() -> None:
    assert judge_name([NOW_S] * MOST_NEW_NAMES, now_s=NOW_S).reason == (
        "2 new names in 30 days: it keeps the last one, with a new key"
    )
