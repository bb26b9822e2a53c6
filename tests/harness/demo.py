"""Runs `otscert demo --json` as a script would, and gives its lines as objects."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.harness.parts import require_part

STOP_S = 30.0


@dataclass(slots=True)
class RunningDemo:
    """A demo that has said `started`. `boxes` and `summary` are read as they come."""

    process: subprocess.Popen[str]
    started: dict[str, Any]
    boxes: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)

    @property
    def data_dir(self) -> Path:
        return Path(self.started["data_dir"])

    @property
    def root_pem(self) -> Path:
        return Path(self.started["root_pem"])

    def kill_hq(self) -> None:
        os.kill(self.started["pids"]["hq"], signal.SIGKILL)

    def read_boxes(self, count: int) -> None:
        """Read the lines of the first `count` boxes."""
        for _ in range(count):
            line = self.process.stdout.readline() if self.process.stdout else ""
            self.boxes.append(json.loads(line))

    def read_to_summary(self) -> None:
        """Read the boxes' lines until the summary has come."""
        for line in self.process.stdout or ():
            said = json.loads(line)
            if said["kind"] == "summary":
                self.summary = said
                return
            self.boxes.append(said)
        raise AssertionError(f"the demo ended without a summary, status {self.process.wait(STOP_S)}")

    def pids(self) -> list[int]:
        pids = self.started["pids"]
        return [pids["ca"], pids["hq"], *pids["boxes"]]


@contextmanager
def running_demo(*options: str) -> Iterator[RunningDemo]:
    """Start a demo with `options`; it is told to stop at the end when it has not ended by itself."""
    pebble = require_part("pebble")
    process = subprocess.Popen(
        [sys.executable, "-m", "otscert", "demo", "--json", "--pebble", str(pebble.path), *options],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line, f"the demo said nothing and ended with status {process.wait(STOP_S)}"
        yield RunningDemo(process, json.loads(line))
    finally:
        if process.poll() is None:
            process.terminate()
        process.stdout.close()
        process.wait(STOP_S)


def alive(pid: int) -> bool:
    """Whether a process runs; one that only waits to be reaped by PID 1 does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
