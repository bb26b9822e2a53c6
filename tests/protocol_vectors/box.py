"""A box's real judgement of a recorded answer: the agent's `Exchange` over a transport that only replays."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from otscert_agent import exchange, trust
from otscert_agent.disk import Disk
from otscert_agent.state import HqMemory, Store
from otscert_agent.transport import Reply
from otscert_agent.wire import messages

EXPECTED = (
    messages.Challenge,
    messages.Granted,
    messages.Pending,
    messages.Refused,
    messages.OrderState,
    messages.CheckInAnswer,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """One request with its answer, and what the box knew when it came."""

    url: str
    request: str
    audience: str
    status: int
    content_type: str
    answer: str
    roots: Sequence[str]
    memory: Mapping[str, int]
    build_epoch: int


class Replay:
    """The transport: gives the one recorded reply."""

    def __init__(self, reply: Reply) -> None:
        self._reply = reply

    def post(self, url: str, body: bytes) -> Reply:
        del url, body
        return self._reply

    def connect(self) -> None:
        """There is no connection."""

    def close(self) -> None:
        """There is no connection."""


def judge(recorded: Recorded, expected: tuple[type, ...] = EXPECTED) -> tuple[exchange.Answer, HqMemory]:
    """The message that a box reads from the answer and what it remembers of HQ; raises what `Exchange.send` raises."""
    reply = Reply(recorded.status, recorded.content_type, recorded.answer.encode())
    with tempfile.TemporaryDirectory() as folder:
        disk = Disk(Path(folder) / "state")
        disk.prepare()
        store = Store(disk)
        store.learn(HqMemory(**recorded.memory))
        pins = trust.Pins.parse("".join(recorded.roots).encode())
        hq = exchange.Exchange(Replay(reply), pins, store, recorded.build_epoch)
        answer = hq.send(recorded.url, recorded.request.encode(), recorded.audience, expected)
        return answer, store.state.hq
