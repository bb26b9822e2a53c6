"""The system clock, set from HQ's signed time where the maker wants it (`set_clock`); the agent itself never reads it.

Knows when a clock is certainly wrong: before the floor, which is a moment that has passed. A clock that is merely
inexact is NTP's affair, and one that is ahead is left alone: HQ could be the one who is wrong.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Callable, Protocol

from otscert_agent.config import CLOCK_IF_WRONG
from otscert_agent.report import Report


class SystemClock(Protocol):
    """The machine's clock. `set` raises `OSError` when it may not or cannot be set."""

    def now(self) -> float: ...

    def set(self, to: float) -> None: ...


class LinuxClock:
    """The clock of this machine."""

    def now(self) -> float:
        return time.time()

    def set(self, to: float) -> None:
        time.clock_settime(time.CLOCK_REALTIME, to)


@dataclass(frozen=True)
class Judgement:
    """Whether to set the clock, and why (not)."""

    to_set: bool
    reason: str


def judge(*, now: float, floor: int, signed: int) -> Judgement:
    """Decide about a clock that says `now`, when HQ signed the time `signed` and nothing before `floor` can be true."""
    if now >= floor:
        return Judgement(False, f"the system clock says {_shown(now)}, which can be")  # noqa: FBT003  # reads well
    return Judgement(
        True,  # noqa: FBT003  # reads well
        f"the system clock says {_shown(now)}, before {_shown(floor)}, which has passed; HQ says {_shown(signed)}",
    )


class ClockSetter:
    """Hears every signed time that was accepted. What it cannot set it says once, and goes on."""

    def __init__(self, report: Report, system: SystemClock | None = None) -> None:
        self._report = report
        self._system = system or LinuxClock()
        self._hopeless = False

    def heard(self, signed: int, floor: int) -> None:
        judgement = judge(now=self._system.now(), floor=floor, signed=signed)
        if not judgement.to_set or self._hopeless:
            return
        try:
            self._system.set(signed)
        except OSError as error:
            self._hopeless = True
            self._report.problem(f"{judgement.reason}; it cannot be set: {_why(error)}")
        else:
            self._report.clock(judgement.reason)


def listener(mode: str, report: Report) -> Callable[[int, int], None] | None:
    """Who is told the time, under the setting `set_clock`."""
    return ClockSetter(report).heard if mode == CLOCK_IF_WRONG else None


def _why(error: OSError) -> str:
    if isinstance(error, PermissionError):
        return "this process lacks the capability CAP_SYS_TIME (nothing else depends on it)"
    return error.strerror or str(error)


def _shown(moment: float) -> str:
    try:
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))
    except (ValueError, OverflowError, OSError):
        return str(int(moment))
