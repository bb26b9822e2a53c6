"""What the agent says about itself: JSON lines or sentences on stdout, and the note that `status` reads.

Knows the forms and how not to repeat itself. Never gets a secret to say.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any, Callable, TextIO

from otscert_agent.disk import Disk
from otscert_agent.errors import StateError
from otscert_agent.words import one_line, span

NOTE = "status.json"
REPEAT_S = 600.0  # the same reason again is said after ten minutes: HQ may be away for days
EXACT_MS = 10_000  # a boot is measured to here; later nobody counts

_SENTENCES = {
    "step": "{step} done after {took}",
    "serving": "serving https://{name}/ on {listen}:{port} after {took}",
    "installed": "installed the certificate of {name}; otscert-agent run serves it",
    "waiting": "waiting {pause}: {why}",
    "problem": "problem: {why}",
    "command": "HQ asks: {name}{note}",
    "clock": "set the system clock: {why}",
}


def process_age_ms() -> float:
    """Milliseconds since this process began (exec does not restart it); resolution 10 ms."""
    try:
        # proc(5): the command may contain anything but is followed by the last ")"; starttime is field 22.
        ticks = int(Path("/proc/self/stat").read_bytes().rpartition(b")")[2].split()[19])
        # Rounded up, so that no step is told later than somebody who saw the process begin can have seen it.
        began_s = (ticks + 1) / os.sysconf("SC_CLK_TCK")
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - began_s) * 1000
    except (OSError, ValueError, IndexError, AttributeError):
        return time.process_time() * 1000


class Report:
    """One agent's voice. `age_ms` is asked once; later times come from the monotonic clock."""

    def __init__(
        self,
        disk: Disk | None,
        *,
        as_json: bool,
        stream: TextIO | None = None,
        age_ms: Callable[[], float] = process_age_ms,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._disk = disk
        self._as_json = as_json
        self._stream = stream or sys.stdout
        self._began = time.monotonic() - age_ms() / 1000
        self._now = now
        self._last: tuple[str, float] = ("", 0.0)
        self._noted: dict[str, Any] | None = None
        self.present: dict[str, Any] = {"step": "not started", "why": None}  # what the note says; the pages show it

    def ms(self) -> int:
        return round((time.monotonic() - self._began) * 1000)

    def step(self, step: str) -> None:
        self._say("step", step=step, ms=self.ms())

    def serving(self, **facts: Any) -> None:
        self._say("serving", **facts, ms=self.ms())

    def waiting(self, step: str, why: str, retry_s: float, **more: Any) -> None:
        """Say why the box waits, unless that was just said; and leave it where `status` and the page find it."""
        self.note(step, why, **more)
        if self._is_news(why):
            self._say("waiting", why=why, retry_s=round(retry_s, 1), **more)

    def problem(self, why: str, **more: Any) -> None:
        if self._is_news(why):
            self._say("problem", why=why, **more)

    def clock(self, why: str) -> None:
        self._say("clock", why=why)

    def command(self, name: str, note: str = "") -> None:
        self._say("command", name=name, note=note)

    def note(self, step: str, why: str | None = None, **more: Any) -> None:
        """Leave the present state for `status`. It may be lost in a power cut; nothing depends on it."""
        self.present = {"step": step, "why": why, **more}
        if self._disk is None or self._noted == self.present:  # who looks every five seconds wears no flash by it
            return
        with contextlib.suppress(StateError):  # a full disk is reported by the step that needs it
            self._disk.note(NOTE, json.dumps(self.present).encode())
            self._noted = self.present

    def _is_news(self, why: str) -> bool:
        now = self._now()
        said, when = self._last
        if said == why and now - when < REPEAT_S:
            return False
        self._last = (why, now)
        return True

    def _say(self, kind: str, **facts: Any) -> None:
        line = json.dumps({"kind": kind, **facts}) if self._as_json else _sentence(kind, facts)
        print(line, file=self._stream, flush=True)


def _sentence(kind: str, facts: dict[str, Any]) -> str:
    if kind == "serving" and not facts["port"]:  # `enroll`, and no web server that was named
        kind = "installed"
    ms = facts.get("ms", 0)
    took = f"{ms} ms" if ms < EXACT_MS else span(ms / 1000)
    pause = span(facts.get("retry_s", 0))
    return one_line(_SENTENCES[kind].format(**facts, took=took, pause=pause))
