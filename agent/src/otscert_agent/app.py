"""Where the parts of the agent are put together, and where one image of the process hands over to the next.

The memory that TLS towards HQ and X.509 need is never given back by Python, so a box that has nothing to do but serve
its page for hours replaces itself (exec, same process id) by a fresh image that never loads them.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import MutableMapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Callable

from otscert_agent import clock, entropy
from otscert_agent.board import Board
from otscert_agent.config import ENVIRONMENT_PREFIX, Settings
from otscert_agent.disk import Disk
from otscert_agent.errors import AgentError, ConfigError
from otscert_agent.factory_secret import FactorySecret
from otscert_agent.facts import installed_facts, newest_is_current
from otscert_agent.loop import Agent, Handed, Parts
from otscert_agent.pages import Pages
from otscert_agent.report import Report
from otscert_agent.state import Store
from otscert_agent.steps import Step

if TYPE_CHECKING:
    from otscert_agent.conversation import Conversation
    from otscert_agent.transport import Transport

HANDOVER = ENVIRONMENT_PREFIX + "INTERNAL_HANDOVER"
LEAST_QUIET_S = 60.0  # a shorter wait is not worth a new image
GRACE_S = 3.0  # the first visitors of a fresh page come now


@dataclass(frozen=True)
class Inherited:
    """Descriptors and facts that came through exec."""

    lock: int
    due: float
    canary: str
    secure: int | None = None  # the listeners of the pages
    plain: int | None = None


class SystemWaiter:
    """Real time; a signal handler that raises ends a wait."""

    def wait(self, seconds: float) -> None:
        if seconds > 0:
            time.sleep(seconds)

    def now(self) -> float:
        return time.monotonic()


class Replacement:
    """`loop.Idle`: becomes a small process before a long wait."""

    def __init__(self, lock: int, pages: Pages) -> None:
        self._lock = lock
        self._pages = pages

    def before_wait(self, handed: Handed) -> None:
        if "cryptography" not in sys.modules or handed.due - time.monotonic() < LEAST_QUIET_S:
            return
        time.sleep(GRACE_S)
        secure, plain = self._pages.hand_over()
        os.set_inheritable(self._lock, True)  # noqa: FBT003  # the standard library has no keyword for it
        inherited = Inherited(lock=self._lock, secure=secure, plain=plain, **asdict(handed))
        sys.stdout.flush()
        environment = {**os.environ, HANDOVER: json.dumps(asdict(inherited))}
        # orig_argv is how this image was started; the next one reads the same settings.
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)  # noqa: S606  # itself, no shell


def inherited(environment: MutableMapping[str, str]) -> Inherited | None:
    """What the image before left, taken out of `environment`."""
    text = environment.pop(HANDOVER, None)
    return None if text is None else Inherited(**json.loads(text))


class Box:
    """A wired agent: call `agent.run()`, then `close()`."""

    def __init__(
        self, settings: Settings, *, report_json: bool, page: bool, patient: bool, handed: Inherited | None = None
    ) -> None:
        self.disk = Disk(settings.state_dir)
        self.disk.prepare()
        lock = self.disk.lock(handed.lock if handed else None)
        self.store = Store(self.disk, tolerant=patient)
        secret = FactorySecret(settings)
        report = Report(self.disk, as_json=report_json)
        self._pages = Pages(
            settings,
            disk=self.disk,
            store=self.store,
            report=report,
            own=page,
            secure=handed.secure if handed else None,
            plain=handed.plain if handed else None,
        )
        self.web = self._pages.web
        parts = Parts(
            disk=self.disk,
            store=self.store,
            kernel=entropy.LinuxKernel(),
            waiter=SystemWaiter(),
            report=report,
            converse=converse_with(
                settings,
                self.disk,
                self.store,
                entropy.LinuxKernel(),
                secret=secret,
                heard=clock.listener(settings.set_clock, report),
            ),
            board=Board(settings.serial, secret),
            web=self.web,
            start_page=self._pages.start_secure,
            idle=Replacement(lock, self._pages) if patient else None,
            patient=patient,
        )
        self.agent = Agent(parts, Handed(due=handed.due, canary=handed.canary) if handed else None)
        if handed:
            report.note(self.agent.step.value)
        if handed and handed.secure is not None:
            self._pages.start_secure()
        self._pages.start_plain()

    def close(self) -> None:
        self.agent.close()
        self._pages.stop()
        self.disk.unlock()


def converse_with(
    settings: Settings,
    disk: Disk,
    store: Store,
    kernel: entropy.Kernel,
    transport: Transport | None = None,
    *,
    secret: FactorySecret | None = None,
    heard: Callable[[int, int], None] | None = None,
) -> Callable[[str], Conversation]:
    """A maker of the conversation with HQ. Cryptography and TLS are loaded when it is called, not before.

    With `transport` (a benchmark's, a test's) HQ's TLS leaf is the transport's affair. `secret` is the factory secret
    where it may have been read already. `heard` is told HQ's time and the floor, each time that one was accepted.
    """
    secret = secret or FactorySecret(settings)

    def make(canary: str) -> Conversation:
        from otscert_agent import conversation, exchange, trust  # noqa: PLC0415  # see above
        from otscert_agent import transport as https  # noqa: PLC0415  # same

        try:
            pins = trust.Pins.parse(settings.hq_roots.read_bytes())
        except OSError as error:
            raise ConfigError(f"hq_roots {settings.hq_roots} cannot be read: {error.strerror}") from None
        carrier = transport
        if carrier is None:
            context = https.client_context(pins.pem, clock_trusted=False)
            carrier = https.HttpsTransport(
                settings.base_url,
                context,
                lambda der: hq.check_tls_leaf(der),  # noqa: PLW0108  # hq is made below
            )
        hq = exchange.Exchange(carrier, pins, store, settings.build_epoch, heard)
        return conversation.Conversation(
            settings, store=store, disk=disk, hq=hq, kernel=kernel, canary=canary, factory=secret.load()
        )

    return make


def status(settings: Settings) -> dict[str, object]:
    """What `otscert-agent status` shows, read without taking the lock. Holds no secret."""
    disk = Disk(settings.state_dir)
    note = disk.read("status.json")
    store = Store(disk, tolerant=True)
    state = store.state
    found: dict[str, object] = {"step": "not started", "names": [], "device_id": state.device_id}
    if note:
        with contextlib.suppress(ValueError, TypeError):  # cut off by a power cut; the next step writes it anew
            found.update(json.loads(note))
    if store.damage is not None:
        found.update(step=Step.DAMAGED.value, why=str(store.damage))
    try:
        facts = installed_facts(disk)
    except AgentError:
        return found
    found.update(asdict(facts))
    as_issued = state.served_sha256 == facts.leaf_sha256 and newest_is_current(disk)
    found["served_as_issued"] = as_issued if state.served_sha256 else None
    return found
