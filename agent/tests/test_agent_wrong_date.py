"""One wrong date of HQ's must not lose a fleet: a box is deaf for seven days of its own clock, then hears again."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest
from agent.tests.harness import certificates as pki
from agent.tests.harness.box import HeldTime, TestBox
from agent.tests.harness.hq import Call, FakeHq

from otscert_agent import trust
from otscert_agent.loop import Agent
from otscert_agent.steps import Step
from otscert_agent.wire import messages
from otscert_agent.wire.keys import PublicKey
from otscert_agent.wire.problems import ProblemType

TEN_YEARS = 10 * 365 * pki.DAY


def say(hq: FakeHq, *, generation: int, ahead: dt.timedelta, tls: bool = True, answers: bool = True) -> None:
    """Let HQ have new leaves, made when its clock was `ahead`, and let it tell that clock's time."""
    dates: dict[str, Any] = {"not_before": pki.NOW + ahead - pki.DAY, "not_after": pki.NOW + ahead + 365 * pki.DAY}
    if answers:
        hq.answer = pki.answer_leaf(hq.root, generation=generation, **dates)
        hq.time = int((pki.NOW + ahead).timestamp())
    if tls:
        hq.serve(pki.make_leaf(hq.root, usages=[pki.SERVER_AUTH], generation=generation, **dates))


def steady(box: Callable[..., TestBox]) -> TestBox:
    made = box(time=HeldTime(most_waits=5000))
    made.agent.run(until=Step.STEADY)
    made.agent.advance()
    return made


def until_heard(one: TestBox, hq: FakeHq) -> None:
    """Go on until a call reaches HQ and is answered well."""
    floor = one.store.state.hq.floor
    while one.store.state.hq.floor == floor or one.store.state.hq.deaf_s:
        one.agent.advance()
    assert hq.book.violations == []


@pytest.mark.parametrize("lying", ["answers and TLS", "answers", "TLS"])
def test_a_date_ten_years_ahead_is_forgotten_after_seven_days(
    hq: FakeHq, box: Callable[..., TestBox], lying: str
) -> None:
    one = steady(box)
    before, right = one.store.state, one.store.state.hq.floor
    say(hq, generation=2, ahead=TEN_YEARS, tls="TLS" in lying, answers="answers" in lying)
    calls, began = len(hq.book.calls), one.time.now()
    one.agent.advance()  # the one time that HQ lies
    if "answers" in lying:
        assert len(hq.book.calls) == calls + 1
    assert one.store.state.hq.floor == right + TEN_YEARS.total_seconds()
    say(hq, generation=3, ahead=dt.timedelta(0))
    until_heard(one, hq)
    assert trust.DEAF_LIMIT_S <= one.time.now() - began < trust.DEAF_LIMIT_S + 4 * 3600
    one.agent.advance()  # what was heard first may be HQ's stored answer, from before
    after = one.store.state
    assert after.hq.floor == right
    assert (after.hq.answer_generation, after.hq.tls_generation, after.hq.deaf_s) == (3, 3, 0)
    assert (after.device_id, after.names, after.identity) == (before.device_id, before.names, before.identity)
    assert one.agent.step is Step.STEADY
    assert one.lines("problem")[-1]["why"].endswith("before the floor (this firmware, or a newer certificate)")


def test_power_cuts_do_not_begin_the_seven_days_again(hq: FakeHq, box: Callable[..., TestBox]) -> None:
    """A box that is switched off every three hours, at any moment, loses little of what it has waited."""
    one = steady(box)
    say(hq, generation=2, ahead=TEN_YEARS)
    one.agent.advance()
    poisoned = one.store.state.hq.floor
    say(hq, generation=3, ahead=dt.timedelta(0))
    on_s = 0.0
    while one.store.state.hq.floor == poisoned or one.store.state.hq.deaf_s:
        one.close()
        one = box(time=HeldTime(most_waits=5000))
        began = one.time.now()
        while one.time.now() - began < 3 * 3600 and (one.store.state.hq.floor == poisoned or one.store.state.hq.deaf_s):
            one.agent.advance()
        on_s += one.time.now() - began
        assert on_s < 1.5 * trust.DEAF_LIMIT_S, "the box loses too much of its waiting"
    assert on_s >= trust.DEAF_LIMIT_S
    assert one.store.state.hq.answer_generation == 3


def test_deaf_days_alone_let_nobody_in_with_an_older_generation(hq: FakeHq, box: Callable[..., TestBox]) -> None:
    """What heals a wrong date must not be a way back for keys that were replaced."""
    one = steady(box)
    say(hq, generation=2, ahead=TEN_YEARS)
    one.agent.advance()
    say(hq, generation=1, ahead=dt.timedelta(0))
    agent: Agent = one.agent
    began = one.time.now()
    while one.time.now() - began < 2 * trust.DEAF_LIMIT_S:
        agent.advance()
    assert one.store.state.hq.deaf_s > trust.DEAF_LIMIT_S
    assert "is of generation 1, 2 was seen" in one.lines("problem")[-1]["why"]


def test_no_wait_that_hq_names_is_longer_than_a_week(hq: FakeHq, box: Callable[..., TestBox]) -> None:
    """An HQ whose clock was wrong works out spans of ten years, and signs them."""
    years_s = int(TEN_YEARS.total_seconds())
    hq.next_checkin_s = years_s
    one = box()
    one.agent.run(until=Step.STEADY)
    one.agent.advance()
    calls = len(hq.book.calls)
    one.agent.advance()
    assert len(hq.book.calls) == calls + 1
    assert one.store.state.next_checkin_s == years_s
    assert max(one.time.waits) == trust.DEAF_LIMIT_S
    again = box("again")
    later = messages.Problem(type=ProblemType.UNAVAILABLE.value, title="Later.", status=503, retry_after_s=years_s)
    hq.refusals.append(lambda call: hq.sign(later, _introduced(call), call.request))
    again.agent.run(until=Step.STEADY)
    assert max(again.time.waits) == trust.DEAF_LIMIT_S


def _introduced(call: Call) -> str:
    return PublicKey.from_jwk(call.request.header["jwk"]).thumbprint()
