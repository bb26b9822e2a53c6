"""A real agent process under a test: its settings, what stands before its command, and everything that it says.

Ends with the block. Knows the agent's command line and its JSON lines, and nothing of HQ.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

STOP_S = 10.0
Line = dict[str, Any]


@dataclass(slots=True, kw_only=True)
class AgentProcess:
    """Use `running_agent`. `state_dir` is the box's folder; it outlives the process."""

    state_dir: Path
    process: subprocess.Popen[str]
    lines: list[Line] = field(default_factory=list)
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _ended: bool = False

    def wait_for(self, wanted: Callable[[Line], bool], *, within_s: float) -> Line:
        """The first line that `wanted` accepts, said already or yet to come."""
        until_s = time.monotonic() + within_s
        with self._changed:
            while (found := next((line for line in self.lines if wanted(line)), None)) is None:
                left_s = until_s - time.monotonic()
                assert left_s > 0, f"the agent did not say it in time, but: {self.lines}"
                assert not self._ended, f"the agent ended with {self.process.wait()}: {self.lines}"
                self._changed.wait(left_s)
        return found

    def wait_for_kind(self, kind: str, *, within_s: float) -> Line:
        return self.wait_for(lambda line: line["kind"] == kind, within_s=within_s)

    def wait_for_problem(self, words: str, *, within_s: float) -> Line:
        """The first line of any kind whose reason holds `words`."""
        return self.wait_for(lambda line: words in str(line.get("why", "")), within_s=within_s)

    def steps(self) -> list[str]:
        return [line["step"] for line in self.lines if line["kind"] == "step"]

    def state(self) -> Line:
        """What is on the box's disk now."""
        found: Line = json.loads((self.state_dir / "state.json").read_bytes())
        return found

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout=STOP_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()

    def listen(self) -> None:
        try:
            for text in self.process.stdout or ():
                with self._changed:
                    self.lines.append(json.loads(text))
                    self._changed.notify_all()
        except ValueError:
            pass  # the pipe was closed by `stop`
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()


@contextmanager
def running_agent(
    folder: Path,
    *,
    hq_url: str,
    roots: Path,
    model: str,
    before: tuple[str, ...] = (),
    env: Mapping[str, str] | None = None,
    **settings: str,
) -> Iterator[AgentProcess]:
    """Start a box with its state in `folder`; `before` is put in front of the command, `env` on top of the test's."""
    given = {
        "hq_url": hq_url,
        "hq_roots": str(roots),
        "model": model,
        "state_dir": str(folder),
        "addresses": "127.0.0.1",
        "listen": "127.0.0.1:0",
        **settings,
    }
    own = {f"OTSCERT_AGENT_{name.upper()}": value for name, value in given.items()}
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("OTSCERT_")}
    process = subprocess.Popen(
        [*before, sys.executable, "-m", "otscert_agent.cli", "run", "--json"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**inherited, **own, **(env or {})},
        start_new_session=True,
    )
    agent = AgentProcess(state_dir=folder, process=process)
    threading.Thread(target=agent.listen, name=f"agent-{process.pid}", daemon=True).start()
    try:
        yield agent
    finally:
        agent.stop()
