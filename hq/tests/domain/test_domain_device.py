from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from hq.tests.store.rows import device

from otscert.domain.device import (
    MOVES,
    DeviceEvent,
    DeviceState,
    Retired,
    Retiring,
    judge_retiring,
    may_order,
    may_work,
    move,
)
from otscert.domain.errors import IllegalMove

S, E, W = DeviceState, DeviceEvent, Retired


def test_every_pair_is_a_move_or_an_error_and_retired_is_the_end() -> None:
    for state, event in product(S, E):
        if (state, event) in MOVES:
            assert move(state, event) in S
        else:
            assert state is S.RETIRED
            with pytest.raises(IllegalMove):
                move(state, event)
    assert all((state, E.RETIRE) in MOVES for state in S if state is not S.RETIRED)


def test_a_freeze_does_not_lift_a_quarantine() -> None:
    assert move(S.QUARANTINED, E.FREEZE) is S.QUARANTINED
    assert move(S.FROZEN, E.QUARANTINE) is S.QUARANTINED


@pytest.mark.parametrize(
    ("was", "why", "verdict"),
    [
        (None, W.RESET, Retiring.RETIRE),
        (None, W.TRANSFER, Retiring.RETIRE),
        (None, W.REMOVED, Retiring.RETIRE),
        (W.RESET, W.RESET, Retiring.NOTHING),
        (W.RESET, W.TRANSFER, Retiring.NOTHING),
        (W.TRANSFER, W.RESET, Retiring.NOTHING),
        (W.REMOVED, W.REMOVED, Retiring.NOTHING),
        (W.RESET, W.REMOVED, Retiring.CHANGE),
        (W.TRANSFER, W.REMOVED, Retiring.CHANGE),
        (W.REMOVED, W.RESET, Retiring.CHANGE),
        (W.REMOVED, W.TRANSFER, Retiring.CHANGE),
        (W.REPLACED, W.RESET, Retiring.REFUSE),
        (W.REPLACED, W.REMOVED, Retiring.REFUSE),
    ],
)
def test_what_becomes_of_a_name_that_is_taken_back(was: Retired | None, why: Retired, verdict: Retiring) -> None:
    state = S.RETIRED if was else S.ACTIVE
    decision = judge_retiring(device(state=state, retired=was), why)
    assert decision.verdict is verdict
    assert decision.reason


@pytest.mark.parametrize(
    ("changes", "works", "orders"),
    [
        ({}, True, True),
        ({"unserved": 2}, True, False),  # the order that is under way is still its own
        ({"in_dns": False}, False, True),  # it is let order as soon as it calls
        ({"state": S.FROZEN}, False, False),
        ({"state": S.QUARANTINED}, False, False),
        ({"state": S.RETIRED, "retired": W.RESET}, False, False),
    ],
)
def test_who_may_order_and_whose_order_goes_on(changes: dict[str, Any], works: bool, orders: bool) -> None:  # noqa: FBT001 - columns of the table
    box = device(**changes)
    assert (may_work(box).allowed, may_order(box).allowed) == (works, orders)
    assert may_work(box).reason
    assert may_order(box).reason
