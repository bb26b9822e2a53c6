"""Where the parts of the agent are put together, and where one image of the process hands over to the next.

The memory that TLS towards HQ and X.509 need is never given back by Python, so a box that has nothing to do but serve
its page for hours replaces itself (exec, same process id) by a fresh image that never loads them.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import time
from collections.abc import MutableMapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Callable

from otscert_agent import clock, entropy, served
from otscert_agent.board import Board
from otscert_agent.config import ENVIRONMENT_PREFIX, Settings, split_address
from otscert_agent.disk import Disk
from otscert_agent.errors import AgentError, ConfigError
from otscert_agent.factory_secret import FactorySecret
from otscert_agent.facts import installed_facts, newest_is_current
from otscert_agent.loop import Agent, Handed, Parts
from otscert_agent.report import Report
from otscert_agent.state import Store

if TYPE_CHECKING:
    from otscert_agent.conversation import Conversation
    from otscert_agent.page import BoxStatus
    from otscert_agent.serve import ReloadingHttpsServer
    from otscert_agent.transport import Transport

HANDOVER = ENVIRONMENT_PREFIX + "INTERNAL_HANDOVER"
LEAST_QUIET_S = 60.0  # a shorter wait is not worth a new image
GRACE_S = 3.0  # the first visitors of a fresh page come now
DRAIN_S = 5.0


@dataclass(frozen=True)
class Inherited:
    """Descriptors and facts that came through exec."""

    lock: int
    listener: int | None
    due: float
    canary: str


class SystemWaiter:
    """Real time; a signal handler that raises ends a wait."""

    def wait(self, seconds: float) -> None:
        if seconds > 0:
            time.sleep(seconds)

    def now(self) -> float:
        return time.monotonic()


class Replacement:
    """`loop.Idle`: becomes a small process before a long wait."""

    def __init__(self, lock: int, page: ReloadingHttpsServer | None) -> None:
        self._lock = lock
        self._page = page

    def before_wait(self, handed: Handed) -> None:
        if "cryptography" not in sys.modules or handed.due - time.monotonic() < LEAST_QUIET_S:
            return
        time.sleep(GRACE_S)
        listener = None
        if self._page is not None and self._page.started:
            self._page.drain(DRAIN_S)
            listener = self._page.listener.fileno()
            os.set_inheritable(listener, True)  # noqa: FBT003  # the standard library has no keyword for it
        os.set_inheritable(self._lock, True)  # noqa: FBT003  # same
        inherited = Inherited(lock=self._lock, listener=listener, **asdict(handed))
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
        self._settings = settings
        self.disk = Disk(settings.state_dir)
        self.disk.prepare()
        lock = self.disk.lock(handed.lock if handed else None)
        self.store = Store(self.disk)
        secret = FactorySecret(settings)
        self._page = self._make_page(handed) if page and settings.listen else None
        self.web = self._web_server()
        report = Report(self.disk, as_json=report_json)
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
            start_page=self._page.start if self._page else lambda: None,
            idle=Replacement(lock, self._page) if patient else None,
            patient=patient,
        )
        self.agent = Agent(parts, Handed(due=handed.due, canary=handed.canary) if handed else None)
        if handed and self._page is not None:
            self._page.start()

    def close(self) -> None:
        self.agent.close()
        if self._page is not None:
            self._page.stop()
        self.disk.unlock()

    def _make_page(self, handed: Inherited | None) -> ReloadingHttpsServer:
        from otscert_agent import page, serve  # noqa: PLC0415  # a box without built-in page does not pay for it

        listener = None
        if handed is not None and handed.listener is not None:
            listener = socket.socket(fileno=handed.listener)
            listener.set_inheritable(False)
        address = split_address(self._settings.listen, "listen")
        try:
            return serve.ReloadingHttpsServer(address, self.disk.current, page.handler(self._status), listener=listener)
        except OSError as error:
            raise ConfigError(f"listen = {self._settings.listen}: {error.strerror}") from None

    def _status(self) -> BoxStatus:
        from otscert_agent import page  # noqa: PLC0415  # loaded by then

        state = self.store.state
        facts = installed_facts(self.disk)
        return page.BoxStatus(
            name=facts.names[0],
            names=facts.names,
            state=self.agent.step.value,
            device_id=state.device_id or "",
            not_before=facts.not_before,
            not_after=facts.not_after,
        )

    def _web_server(self) -> served.WebServer | None:
        settings = self._settings
        if settings.served_at:
            host, port = split_address(settings.served_at, "served_at")
            reload, restart = _command(settings.reload_command), _command(settings.restart_command)
            return served.WebServer(host=host, port=port, reload=reload, restart=restart)
        if self._page is None:
            return None
        host, port = self._page.address
        return served.WebServer(host=host, port=port, reload=self._reload_page)

    def _reload_page(self) -> str | None:
        assert self._page is not None  # noqa: S101  # only the built-in page is reloaded so
        self._page.reload()
        return str(self._page.error) if self._page.error else None


def _command(command: list[str]) -> Callable[[], str | None] | None:
    return (lambda: served.run_command(command)) if command else None


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
    state = Store(disk).state
    found: dict[str, object] = {"step": "not started", "names": [], "device_id": state.device_id}
    if note:
        with contextlib.suppress(ValueError):  # cut off by a power cut; the next step writes it anew
            found.update(json.loads(note))
    try:
        facts = installed_facts(disk)
    except AgentError:
        return found
    found.update(asdict(facts))
    as_issued = state.served_sha256 == facts.leaf_sha256 and newest_is_current(disk)
    found["served_as_issued"] = as_issued if state.served_sha256 else None
    return found
