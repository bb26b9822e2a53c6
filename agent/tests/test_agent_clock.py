"""The system clock: set only when the maker wants it and it is certainly wrong, and never to what HQ did not sign."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable

import pytest
from agent.tests.harness.box import TestBox
from agent.tests.harness.hq import FakeHq

from otscert_agent import clock, config
from otscert_agent.errors import ConfigError
from otscert_agent.report import Report
from otscert_agent.steps import Step

FLOOR = 1_795_000_000
SIGNED = FLOOR + 500


class HeldClock:
    """A clock in the test's hand; `broken` is raised by who sets it."""

    def __init__(self, now: float, broken: OSError | None = None) -> None:
        self.time = now
        self.broken = broken
        self.sets: list[float] = []

    def now(self) -> float:
        return self.time

    def set(self, to: float) -> None:
        self.sets.append(to)
        if self.broken:
            raise self.broken
        self.time = to


def setter(held: HeldClock) -> tuple[clock.ClockSetter, io.StringIO]:
    said = io.StringIO()
    return clock.ClockSetter(Report(None, as_json=True, stream=said), held), said


def lines(said: io.StringIO) -> list[dict[str, str]]:
    return [json.loads(line) for line in said.getvalue().splitlines()]


@pytest.mark.parametrize(
    ("now", "to_set"), [(0.0, True), (FLOOR - 0.5, True), (FLOOR, False), (SIGNED + 10**9, False), (-1e18, True)]
)
def test_only_a_clock_that_says_what_has_passed_is_set(now: float, to_set: bool) -> None:  # noqa: FBT001
    judgement = clock.judge(now=now, floor=FLOOR, signed=SIGNED)
    assert judgement.to_set == to_set
    assert "the system clock says" in judgement.reason


def test_a_clock_in_1970_is_set_once_to_the_signed_time_and_that_is_said() -> None:
    held = HeldClock(0.0)
    hearing, said = setter(held)
    hearing.heard(SIGNED, FLOOR)
    hearing.heard(SIGNED + 9, FLOOR)
    assert held.sets == [SIGNED]
    (line,) = lines(said)
    assert line["kind"] == "clock"
    assert "1970-01-01T00:00:00Z, before 2026-" in line["why"]


@pytest.mark.parametrize(
    ("broken", "why"), [(PermissionError(1, "no"), "CAP_SYS_TIME"), (OSError(22, "Invalid argument"), "Invalid")]
)
def test_a_clock_that_cannot_be_set_is_said_once_and_is_no_failure(broken: OSError, why: str) -> None:
    held = HeldClock(0.0, broken)
    hearing, said = setter(held)
    for _ in range(3):
        hearing.heard(SIGNED, FLOOR)
    assert held.sets == [SIGNED]
    (line,) = lines(said)
    assert line["kind"] == "problem"
    assert why in line["why"]


def test_the_real_call_without_the_capability_is_the_case_that_is_handled() -> None:
    """In a process of its own that lost CAP_SYS_TIME: the real clock_settime, to the present moment."""
    code = "from otscert_agent.clock import LinuxClock as C; c = C(); c.set(c.now())"
    without = ["setpriv", "--bounding-set", "-sys_time"] if os.geteuid() == 0 else []
    done = subprocess.run([*without, sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1].startswith("PermissionError"), done.stderr


@pytest.mark.parametrize("mode", [config.CLOCK_NEVER, config.CLOCK_IF_WRONG])
def test_only_the_setting_makes_the_agent_listen(mode: str) -> None:
    heard = clock.listener(mode, Report(None, as_json=True, stream=io.StringIO()))
    assert (heard is None) == (mode == config.CLOCK_NEVER)


def test_a_word_that_is_no_mode_is_refused() -> None:
    environment = {"OTSCERT_AGENT_HQ_URL": "https://hq", "OTSCERT_AGENT_HQ_ROOTS": "r", "OTSCERT_AGENT_MODEL": "m"}
    assert config.load(None, environment).set_clock == "never"
    with pytest.raises(ConfigError, match="neither never nor if-wrong"):
        config.load(None, {**environment, "OTSCERT_AGENT_SET_CLOCK": "always"})


Heard = list[tuple[int, int]]


def test_the_agent_hears_accepted_times_alone(hq: FakeHq, box: Callable[..., TestBox]) -> None:
    heard: Heard = []
    first = box(heard=lambda signed, floor: heard.append((signed, floor)))
    hq.faults.append(lambda _call: b"{}")  # no envelope at all
    first.agent.run(until=Step.STEADY)
    assert heard
    assert {signed for signed, _ in heard} == {hq.time}
    floor = int(hq.answer.certificate.not_valid_before_utc.timestamp())
    assert {each for _, each in heard} == {floor}


def test_the_answer_to_a_message_of_an_earlier_run_says_nothing_of_today(
    hq: FakeHq, box: Callable[..., TestBox]
) -> None:
    """HQ stores the answer to a check-in and gives it again, a year later if need be, with the time of then."""
    first = box()
    first.agent.run(until=Step.STEADY)
    hq.faults.append(lambda call: b"" if call.path.endswith("checkin") else None)  # HQ's work is done, its answer lost
    first.agent.advance()
    first.close()
    heard: Heard = []
    again = box(heard=lambda signed, floor: heard.append((signed, floor)))
    then, hq.time = hq.time, hq.time + 100 * 86_400
    again.agent.run(until=Step.STEADY)
    again.agent.advance()
    assert heard == []
    again.agent.advance()
    assert [signed for signed, _ in heard] == [hq.time]
    assert then < hq.time
