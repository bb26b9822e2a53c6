"""The box in the guest: the agent as it is, in a world where HQ is at the other end of the serial port.

What the agent sends is written to the serial port. What HQ answers lies in /lab/answer, in a place of fixed size: an
image with the answer and one without take the same number of instructions until the agent asks for it.
"""

from __future__ import annotations

import base64
import json
import time
import traceback
from pathlib import Path

from otscert_agent import app, config, entropy
from otscert_agent.board import Board
from otscert_agent.disk import Disk
from otscert_agent.errors import UnreachableError
from otscert_agent.factory_secret import FactorySecret
from otscert_agent.loop import Agent
from otscert_agent.parts import Parts
from otscert_agent.report import Report
from otscert_agent.state import Store
from otscert_agent.transport import Reply

ANSWER = Path("/lab/answer")
ENTROPY_AVAIL = Path("/proc/sys/kernel/random/entropy_avail")
MOST_WAITS = 12


class Silence(Exception):
    """The agent has nothing to do but wait, and in this world nothing will come."""


class SerialPort:
    """The agent's transport: one answer at most, to the first request."""

    def __init__(self) -> None:
        self.sent = 0
        self.silent = False

    def connect(self) -> None:
        """Nothing to open."""

    def close(self) -> None:
        """Nothing to close."""

    def post(self, url: str, body: bytes) -> Reply:
        self.sent += 1
        say(f"url-{self.sent}", url.encode())
        say(f"body-{self.sent}", body)
        answer = ANSWER.read_bytes().strip() if self.sent == 1 else b""
        if not answer:
            self.silent = True
            raise UnreachableError("nobody answers on the serial port")
        reply = json.loads(answer)
        return Reply(reply["status"], reply["content_type"], base64.b64decode(reply["body"]))


class EndOfTime:
    """The agent's waiter: ends the agent when it waits for an answer, or has waited often for something else."""

    def __init__(self, port: SerialPort) -> None:
        self._port = port
        self._waits = 0

    def wait(self, seconds: float) -> None:
        self._waits += 1
        if self._port.silent or self._waits == MOST_WAITS:
            raise Silence
        time.sleep(seconds)

    def now(self) -> float:
        return time.monotonic()


def say(name: str, value: bytes) -> None:
    print(f"lab: {name} {base64.b64encode(value).decode()}", flush=True)


def main() -> None:
    settings = config.load(None)
    disk = Disk(settings.state_dir)
    disk.prepare()
    disk.lock()
    store, kernel, port = Store(disk), entropy.LinuxKernel(), SerialPort()
    secret = FactorySecret(settings)
    parts = Parts(
        disk=disk,
        store=store,
        kernel=kernel,
        waiter=EndOfTime(port),
        report=Report(disk, as_json=True),
        converse=app.converse_with(settings, disk, store, kernel, port, secret=secret),
        board=Board(settings.serial, secret),
    )
    agent = Agent(parts)
    try:
        agent.run()
    except Silence:
        say("step", agent.step.value.encode())
        say("entropy_avail", ENTROPY_AVAIL.read_bytes())


try:
    main()
except Exception:  # noqa: BLE001  # whatever it was, the laboratory wants to read it
    say("trouble", traceback.format_exc().encode())
