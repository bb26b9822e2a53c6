from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otscert.domain import device, order
from otscert.domain.device import DeviceEvent, DeviceState
from otscert.domain.errors import IllegalMove
from otscert.domain.order import BACK_OFF_S, MOVES, TERMINAL, OrderEvent, OrderState, back_off_s

PAIRS = list(product(OrderState, OrderEvent))


def test_every_state_and_every_event_is_in_the_table() -> None:
    live = {state for state, _ in MOVES}
    assert live == set(OrderState) - TERMINAL
    assert {event for _, event in MOVES} == set(OrderEvent)
    assert set(MOVES.values()) | {OrderState.WAITING} == set(OrderState)


def test_every_live_state_reaches_each_end() -> None:
    for end in TERMINAL:
        reaching = {end}
        while more := {state for (state, _), after in MOVES.items() if after in reaching} - reaching:
            reaching |= more
        assert reaching >= set(OrderState) - TERMINAL


@pytest.mark.parametrize(("state", "event"), [pair for pair in PAIRS if pair not in MOVES])
def test_every_other_move_raises(state: OrderState, event: OrderEvent) -> None:
    with pytest.raises(IllegalMove, match=f"event {event} is not legal in state {state}"):
        order.move(state, event)


@pytest.mark.parametrize(("state", "event"), MOVES)
def test_legal_moves_follow_the_table(state: OrderState, event: OrderEvent) -> None:
    assert order.move(state, event) is MOVES[state, event]


def test_a_certificate_comes_from_finalizing_alone() -> None:
    assert [state for (state, event), _ in MOVES.items() if event is OrderEvent.ISSUE] == [OrderState.FINALIZING]


def test_every_move_of_a_device_is_in_its_table() -> None:
    # RETIRED has no way out: a name that was taken back is never given again.
    living = set(DeviceState) - {DeviceState.RETIRED}
    assert set(device.MOVES) == set(product(living, DeviceEvent))
    assert device.move(DeviceState.ACTIVE, DeviceEvent.FREEZE) is DeviceState.FROZEN
    assert device.move(DeviceState.FROZEN, DeviceEvent.REARM) is DeviceState.ACTIVE


@given(st.integers(-3, 100), st.floats(0, 0.999), st.booleans())
def test_the_back_off_grows_and_ends(
    attempt: int,
    jitter: float,
    costly: bool,  # noqa: FBT001 - hypothesis hands it over
) -> None:
    wait_s = back_off_s(attempt, retry_after_s=None, jitter=jitter, costly=costly)
    later_s = back_off_s(attempt + 1, retry_after_s=None, jitter=jitter, costly=costly)
    assert BACK_OFF_S[0] <= wait_s <= later_s <= BACK_OFF_S[-1] * 4 / 3
    assert later_s <= (BACK_OFF_S[-1] if costly else BACK_OFF_S[-2]) * 4 / 3


@given(st.integers(1, 20), st.floats(0, 7 * 86_400), st.floats(0, 0.999))
def test_retry_after_is_a_floor(attempt: int, retry_after_s: float, jitter: float) -> None:
    assert back_off_s(attempt, retry_after_s=retry_after_s, jitter=jitter) >= int(retry_after_s)


def test_at_most_five_validations_fail_within_an_hour() -> None:
    moments_s = [0]
    for attempt in range(1, 10):
        moments_s.append(moments_s[-1] + back_off_s(attempt, retry_after_s=None, jitter=0, costly=True))
    assert sum(moment_s < 3600 for moment_s in moments_s) == 5
