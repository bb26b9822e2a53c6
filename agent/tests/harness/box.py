"""A box inside the test's process: the real agent, with time that the test holds and randomness that it may fix."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.tests.harness.hq import FakeHq

from otscert_agent import app, config
from otscert_agent.board import Board
from otscert_agent.disk import Disk, FileOps
from otscert_agent.entropy import LinuxKernel
from otscert_agent.errors import NotReadyError
from otscert_agent.factory_secret import FactorySecret
from otscert_agent.loop import Agent, Parts
from otscert_agent.report import Report
from otscert_agent.served import WebServer
from otscert_agent.state import Store
from otscert_agent.wire.factory import Factory


class Enough(BaseException):
    """The test's waiter has waited as often as the test allows."""


class HeldTime:
    """A waiter that does not wait: it notes how long it would have, and lets that time pass."""

    def __init__(self, most_waits: int = 200) -> None:
        self.waits: list[float] = []
        self.most_waits = most_waits
        self._now = 1000.0

    def wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        self._now += seconds
        if len(self.waits) > self.most_waits:
            raise Enough

    def now(self) -> float:
        return self._now


class FixedKernel:
    """A machine that always gives the same bytes: what two boots of one image are to each other."""

    def __init__(self, seed: bytes = b"twin") -> None:
        self.seed = seed

    def random(self, length: int) -> bytes:
        return hashlib.shake_128(self.seed).digest(length)

    def wait_ready(self, timeout_s: float) -> None:
        pass

    def hwrng(self, length: int) -> bytes:
        del length
        return b""

    def times(self) -> bytes:
        return b"1970-01-01"

    def since_boot_s(self) -> float | None:
        return 1.0

    def stir(self, data: bytes) -> None:
        pass

    def credit(self, seed: bytes) -> bool:
        return False


class SleepyKernel(LinuxKernel):
    """Not ready for the first `looks` questions."""

    def __init__(self, looks: int) -> None:
        self.looks = looks
        self.waited: list[float] = []

    def random(self, length: int) -> bytes:
        self.looks -= 1
        if self.looks >= 0:
            raise NotReadyError("not yet")
        return super().random(length)

    def wait_ready(self, timeout_s: float) -> None:
        self.waited.append(timeout_s)

    def credit(self, seed: bytes) -> bool:
        del seed
        return False  # as a process without CAP_SYS_ADMIN finds it


@dataclass
class TestBox:
    """The agent and what the test looks at."""

    __test__ = False
    agent: Agent
    store: Store
    disk: Disk
    time: HeldTime
    said: io.StringIO
    settings: config.Settings
    extra: dict[str, Any] = field(default_factory=dict)

    def lines(self, kind: str) -> list[dict[str, Any]]:
        found = [json.loads(line) for line in self.said.getvalue().splitlines()]
        return [line for line in found if line["kind"] == kind]

    def close(self) -> None:
        self.agent.close()
        self.disk.unlock()


def secret_file(path: Path, factory: Factory) -> Path:
    """The unit's secret as a factory partition holds it."""
    path.write_text(factory.text() + "\n")
    path.chmod(0o600)
    return path


def make_box(
    hq: FakeHq,
    folder: Path,
    *,
    ops: FileOps | None = None,
    kernel: Any = None,
    web: WebServer | None = None,
    patient: bool = True,
    roots: bytes | None = None,
    time: HeldTime | None = None,
    heard: Callable[[int, int], None] | None = None,
    factory: Factory | None = None,
    **settings: Any,
) -> TestBox:
    """A box with its state in `folder`, pinned to `hq` (or to `roots`); with `factory` it is that unit."""
    pins = folder.parent / f"{folder.name}-roots.pem"
    pins.write_bytes(roots or hq.roots_pem)
    if factory is not None:
        settings["factory_file"] = str(secret_file(folder.parent / f"{folder.name}-factory", factory))
    given = {"addresses": ["192.168.7.20"], "model": "m1", "hq_url": hq.url, **settings}
    made = config.Settings(hq_roots=pins, state_dir=folder, **given)
    disk = Disk(folder, ops)
    disk.prepare()
    disk.lock()
    store = Store(disk, tolerant=patient)
    said = io.StringIO()
    kernel = kernel or LinuxKernel()
    held = time or HeldTime()
    secret = FactorySecret(made)
    parts = Parts(
        disk=disk,
        store=store,
        kernel=kernel,
        waiter=held,
        report=Report(disk, as_json=True, stream=said),
        converse=app.converse_with(made, disk, store, kernel, secret=secret, heard=heard),
        web=web,
        board=Board(made.serial, secret),
        patient=patient,
    )
    return TestBox(agent=Agent(parts), store=store, disk=disk, time=held, said=said, settings=made)
