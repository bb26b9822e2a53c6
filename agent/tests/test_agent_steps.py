from __future__ import annotations

import itertools

import pytest

from otscert_agent.reactions import REACTIONS, Reaction, reaction_to
from otscert_agent.state import BoxState, KeyState, Pending
from otscert_agent.steps import MOVES, Event, IllegalMoveError, Step, next_step, resume_event
from otscert_agent.wire.problems import ProblemType

KEY = KeyState(b"k" * 32)
PENDING = Pending(txid="t", names=["n"], scalar=b"s", csr=b"c")


def reachable(begin: Step) -> set[Step]:
    found, todo = {begin}, [begin]
    while todo:
        step = todo.pop()
        new = {target for (source, _), target in MOVES.items() if source is step} - found
        found |= new
        todo += new
    return found


@pytest.mark.parametrize("step", list(Step))
def test_every_step_can_be_reached_and_leads_to_steady(step: Step) -> None:
    assert step in reachable(Step.LOCK)
    assert (Step.STEADY in reachable(step)) is (step is not Step.DAMAGED)


def test_the_first_boot_is_a_straight_line() -> None:
    step, seen = Step.LOCK, [Step.LOCK]
    while step is not Step.STEADY:
        step = next_step(step, Event.DONE)
        seen.append(step)
    assert seen == [step for step in Step if step is not Step.DAMAGED]


def test_all_other_pairs_are_refused() -> None:
    for pair in itertools.product(Step, Event):
        if pair not in MOVES:
            with pytest.raises(IllegalMoveError, match="cannot happen"):
                next_step(*pair)


def test_nothing_gets_to_the_network_but_through_entropy() -> None:
    ways = {source for (source, _), target in MOVES.items() if target is Step.NETWORK}
    assert ways <= {Step.ENTROPY, Step.NETWORK}
    to_hello = {source for (source, _), target in MOVES.items() if target is Step.HELLO}
    assert to_hello == {Step.NETWORK, Step.HELLO}


@pytest.mark.parametrize(
    ("state", "has_pair", "event"),
    [
        (BoxState(), False, Event.DONE),
        (BoxState(hello=KEY), False, Event.DONE),
        (BoxState(pending=PENDING), False, Event.RESUME_ENROL),
        (BoxState(pending=PENDING, device_id="d"), True, Event.RESUME_ENROL),
        (
            BoxState(pending=Pending("t", ["n"], b"s", b"c", order="https://hq/o"), device_id="d"),
            True,
            Event.RESUME_CERTIFICATE,
        ),
        (BoxState(device_id="d"), True, Event.RESUME_STEADY),
        (BoxState(device_id="d", rekey=True), True, Event.DONE),
        (BoxState(device_id="d"), False, Event.DONE),
        (BoxState(), True, Event.DONE),
    ],
)
def test_a_box_goes_on_where_its_state_says(state: BoxState, has_pair: bool, event: Event) -> None:  # noqa: FBT001  # a table
    assert resume_event(state, has_pair=has_pair) is event


def test_there_is_a_reaction_to_every_problem_and_a_use_for_every_reaction() -> None:
    assert set(REACTIONS) == set(ProblemType)
    assert set(REACTIONS.values()) == set(Reaction)


def test_a_problem_of_a_later_protocol_is_met_with_patience() -> None:
    assert reaction_to("urn:otscert:v9:surprise") is Reaction.AGAIN
    assert reaction_to(ProblemType.START_OVER.value) is Reaction.START_OVER
