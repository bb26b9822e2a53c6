"""What the loop is handed: its surroundings as small ports, and the note that one image of the process leaves the next.

Knows no behaviour. `app` fills it in for a real box; a test or a benchmark fills it in with its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Callable, Protocol

from otscert_agent import entropy, served
from otscert_agent.board import Board
from otscert_agent.disk import Disk
from otscert_agent.report import Report
from otscert_agent.state import Store

if TYPE_CHECKING:  # cryptography is loaded when HQ is called, not while the box only serves
    from otscert_agent.conversation import Conversation


class Waiter(Protocol):
    """Time. To stop the agent, `wait` raises something that is not an `AgentError`."""

    def wait(self, seconds: float) -> None: ...

    def now(self) -> float:
        """Monotonic seconds."""


class Idle(Protocol):
    """Told before a long wait in STEADY, so that the process may become small (`handover`)."""

    def before_wait(self, handed: Handed) -> None: ...


@dataclass(frozen=True)
class Handed:
    """What one image of the process leaves for the next one: when to check in (monotonic s), and this boot's canary."""

    due: float
    canary: str


@dataclass(frozen=True)
class Parts:
    """What the loop works with."""

    disk: Disk
    store: Store
    kernel: entropy.Kernel
    waiter: Waiter
    report: Report
    converse: Callable[[str], Conversation]  # made when HQ is first called; the argument is the canary
    web: served.WebServer | None = None
    start_page: Callable[[], None] = lambda: None  # begins to serve once there is a pair
    idle: Idle | None = None
    board: Board | None = None  # None: the state is not bound to any, and there is no factory secret
    patient: bool = True  # False: raise what only a person can change, instead of waiting
