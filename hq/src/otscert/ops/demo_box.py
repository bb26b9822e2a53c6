"""One box of the demo: a real agent process with a state folder of its own, and what it says about itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from otscert.ops.demo_hq import MODEL, DemoHq


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """What the agent reports once its web server presents the certificate."""

    name: str
    names: tuple[str, ...]
    port: int


@dataclass(slots=True, kw_only=True)
class Step:
    """A step of the boot that was done `ms` after the process began."""

    step: str
    ms: int


@dataclass(slots=True)
class DemoBox:
    """Started by `start`; `wait_serving` returns what it serves, or None when it ended or time is over."""

    folder: Path
    process: subprocess.Popen[str]
    began_s: float
    steps: list[Step] = field(default_factory=list)
    trouble: list[str] = field(default_factory=list)
    serving: Serving | None = None
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _ended: bool = False

    @classmethod
    def start(cls, folder: Path, hq: DemoHq) -> DemoBox:
        """Switch the box on."""
        folder.mkdir(mode=0o700, parents=True)
        settings = {
            "OTSCERT_AGENT_HQ_URL": hq.public_url,
            "OTSCERT_AGENT_HQ_ROOTS": str(hq.root_pem),
            "OTSCERT_AGENT_MODEL": MODEL,
            "OTSCERT_AGENT_FIRMWARE": "demo",
            "OTSCERT_AGENT_STATE_DIR": str(folder / "state"),
            "OTSCERT_AGENT_ADDRESSES": "127.0.0.1",
            "OTSCERT_AGENT_LISTEN": "127.0.0.1:0",
        }
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("OTSCERT_")}
        began_s = time.monotonic()
        with (folder / "agent.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "otscert_agent.cli", "run", "--json"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**inherited, **settings},
                start_new_session=True,
            )
        box = cls(folder, process, began_s)
        threading.Thread(target=box._listen, name=f"box-{process.pid}", daemon=True).start()
        return box

    def wait_serving(self, *, until_s: float) -> Serving | None:
        with self._changed:
            self._changed.wait_for(lambda: self.serving or self._ended, timeout=max(0.0, until_s - time.monotonic()))
            return self.serving

    def why_not(self) -> str:
        """The last trouble the box reported, for the summary."""
        if self._ended and self.serving is None:
            tail = (self.folder / "agent.log").read_text(encoding="utf-8", errors="replace").strip()[-400:]
            return f"the agent ended with status {self.process.wait()}: {tail or 'it said nothing'}"
        return self.trouble[-1] if self.trouble else "the box serves nothing yet"

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()

    def _listen(self) -> None:
        try:
            for line in self.process.stdout or ():
                self._hear(json.loads(line))
        except ValueError:
            pass  # the pipe was closed by `stop`
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _hear(self, said: dict[str, Any]) -> None:
        with self._changed:
            if said["kind"] == "step":
                self.steps.append(Step(step=said["step"], ms=said["ms"]))
            elif said["kind"] == "serving":
                self.serving = Serving(
                    name=said["name"],
                    names=tuple(said["names"]),
                    port=said["port"],
                )
            elif said["kind"] in {"waiting", "problem"}:
                self.trouble.append(str(said.get("why", said)))
            self._changed.notify_all()
