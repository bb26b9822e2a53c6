"""Child processes of a run: started with a ready line on stdout, measured by the kernel's own clocks, ended by id.

Knows processes. Does not know what any of them does.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from bench.errors import BenchError

STOP_S = 15.0
READY_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuMs:
    """CPU time of a process and its children, in ms."""

    user: float
    system: float

    @property
    def total(self) -> float:
        return self.user + self.system

    def __sub__(self, other: CpuMs) -> CpuMs:
        return CpuMs(user=self.user - other.user, system=self.system - other.system)


class Child:
    """A process that says when it is ready; leaving the context ends it and everything it started."""

    def __init__(
        self, command: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None, core: int | None = None
    ) -> None:
        self.log = log
        pinned = [] if core is None else ["taskset", "-c", str(core)]
        with log.open("ab") as errors:
            self.process = subprocess.Popen(
                [*pinned, *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env={**own_environment(), **(env or {})},
                start_new_session=True,  # a Ctrl-C is for the run, which ends its children in order
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    def line(self, *, limit_s: float = READY_S) -> dict[str, Any]:
        """Return the next line as a JSON object.

        Raises:
            BenchError: with the end of the log, when none came within `limit_s`.
        """
        out = self.process.stdout
        assert out is not None  # noqa: S101 - it was asked for above
        if not select.select([out], [], [], limit_s)[0] or not (text := out.readline()):
            raise BenchError(f"{self.process.args!r} said nothing within {limit_s:.0f} s; its log:\n{self.log_tail()}")
        found: dict[str, Any] = json.loads(text)
        return found

    def tell(self, line: str) -> None:
        assert self.process.stdin is not None  # noqa: S101 - it was asked for above
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def log_tail(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")[-2000:]

    def cpu_ms(self) -> CpuMs:
        return cpu_ms(self.pid)

    def stop(self) -> None:
        """End it (SIGTERM, after a while SIGKILL) and wait for its end."""
        if self.process.poll() is None:
            children = psutil.Process(self.pid).children(recursive=True)
            self.process.terminate()
            try:
                self.process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            _, alive = psutil.wait_procs(children, timeout=STOP_S)
            for each in alive:
                each.kill()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def cpu_ms(pid: int) -> CpuMs:
    """CPU time of a process and its living children so far."""
    root = psutil.Process(pid)
    times = [process.cpu_times() for process in (root, *root.children(recursive=True))]
    return CpuMs(user=sum(each.user for each in times) * 1000, system=sum(each.system for each in times) * 1000)


def own_environment() -> dict[str, str]:
    """The environment without settings of our programs: a run measures what it configures itself."""
    return {name: value for name, value in os.environ.items() if not name.startswith("OTSCERT_")}


def wait_until(deadline_s: float, pause_s: float = 0.02) -> bool:
    """Sleep a little; False once monotonic time is past `deadline_s`."""
    if time.monotonic() > deadline_s:
        return False
    time.sleep(pause_s)
    return True
