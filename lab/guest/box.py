"""The box in the guest: the agent as it is, on a transport that is the serial port.

What the agent sends is written to the serial port. What HQ answers lies in /lab/answer, in a place of fixed size: an
image with the answer and one without take the same number of instructions until the agent asks for it.
"""

from __future__ import annotations

import base64
import json
import traceback
from pathlib import Path

from otscert_agent import app, config, entropy
from otscert_agent.disk import Disk
from otscert_agent.errors import UnreachableError
from otscert_agent.state import Store
from otscert_agent.transport import Reply

ANSWER = Path("/lab/answer")
READY_S = 60.0


def say(name: str, value: bytes) -> None:
    print(f"lab: {name} {base64.b64encode(value).decode()}", flush=True)


class SerialPort:
    """The agent's transport: one answer at most, to the first request."""

    def __init__(self) -> None:
        self._sent = 0

    def connect(self) -> None:
        """Nothing to open."""

    def close(self) -> None:
        """Nothing to close."""

    def post(self, url: str, body: bytes) -> Reply:
        self._sent += 1
        say(f"url-{self._sent}", url.encode())
        say(f"body-{self._sent}", body)
        answer = ANSWER.read_bytes().strip() if self._sent == 1 else b""
        if not answer:
            raise UnreachableError("nobody answers on the serial port")
        reply = json.loads(answer)
        return Reply(reply["status"], reply["content_type"], base64.b64decode(reply["body"]))


def main() -> None:
    settings = config.load(None)
    disk = Disk(settings.state_dir)
    disk.prepare()
    disk.lock()
    kernel = entropy.LinuxKernel()
    kernel.wait_ready(READY_S)
    conversation = app.converse_with(settings, disk, Store(disk), kernel, SerialPort())(entropy.canary(kernel))
    try:
        conversation.accept(conversation.hello())
        conversation.enrol()
    except UnreachableError:
        say("done", b"sent")


try:
    main()
except Exception:  # noqa: BLE001  # whatever it was, the laboratory wants to read it
    say("trouble", traceback.format_exc().encode())
