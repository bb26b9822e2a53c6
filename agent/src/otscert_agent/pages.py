"""The pages that this process serves: status over HTTPS once there is a pair, and over plain HTTP from the beginning.

Puts together settings, ports and what the pages show. Does not know the protocol or the steps' order.
"""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Callable

from otscert_agent import hardware, served
from otscert_agent.config import Settings, split_address
from otscert_agent.disk import Disk
from otscert_agent.errors import ConfigError, StateError
from otscert_agent.facts import installed_facts
from otscert_agent.report import Report
from otscert_agent.state import Store

if TYPE_CHECKING:
    from otscert_agent.page import BoxStatus
    from otscert_agent.plain import PlainServer
    from otscert_agent.plain_page import View
    from otscert_agent.serve import ReloadingHttpsServer

DRAIN_S = 5.0
HTTPS_PORT = 443


class Pages:
    """Both pages, or either, or none (`own`: whether any is served). `secure` and `plain` came through exec, if set."""

    def __init__(
        self,
        settings: Settings,
        *,
        disk: Disk,
        store: Store,
        report: Report,
        own: bool = True,
        secure: int | None = None,
        plain: int | None = None,
    ) -> None:
        self._settings = settings
        self._disk = disk
        self._store = store
        self._report = report
        self._secure = self._make_secure(secure) if own and settings.listen else None
        self._plain = self._make_plain(plain) if own and settings.listen_plain else None
        self.web = self._web_server()

    def start_plain(self) -> None:
        if self._plain is not None:
            self._plain.start()

    def start_secure(self) -> None:
        """Begin to serve the installed pair; raise `PairError` when there is none that works."""
        if self._secure is not None:
            self._secure.start()

    def stop(self) -> None:
        for page in (self._secure, self._plain):
            if page is not None:
                page.stop()

    def hand_over(self) -> tuple[int | None, int | None]:
        """End what is being answered, and give the listeners to the next image: its `secure` and `plain`."""
        secure = plain = None
        if self._secure is not None and self._secure.started:
            self._secure.drain(DRAIN_S)
            secure = _inheritable(self._secure.listener)
        if self._plain is not None:
            self._plain.drain(DRAIN_S)
            plain = _inheritable(self._plain.listener)
        return secure, plain

    def _make_secure(self, inherited: int | None) -> ReloadingHttpsServer:
        from otscert_agent import page, serve  # noqa: PLC0415  # a box without built-in page does not pay for it

        address, listener = split_address(self._settings.listen, "listen"), _adopted(inherited)
        handler = page.handler(self._status)
        try:
            return serve.ReloadingHttpsServer(address, self._disk.current, handler, listener=listener)
        except OSError as error:
            raise ConfigError(f"listen = {self._settings.listen}: {error.strerror}") from None

    def _make_plain(self, inherited: int | None) -> PlainServer:
        from otscert_agent import plain, plain_page  # noqa: PLC0415  # same

        def answer(request: bytes) -> bytes:
            return plain_page.answer(request, self._view(), [*self._names(), socket.gethostname()])

        address, listener = split_address(self._settings.listen_plain, "listen_plain"), _adopted(inherited)
        try:
            return plain.PlainServer(address, answer, listener=listener)
        except OSError as error:
            raise ConfigError(f"listen_plain = {self._settings.listen_plain}: {error.strerror}") from None

    def _status(self) -> BoxStatus:
        from otscert_agent import page  # noqa: PLC0415  # loaded by then

        facts, present = installed_facts(self._disk), self._report.present
        return page.BoxStatus(
            name=facts.names[0],
            names=facts.names,
            state=present["step"],
            why=present["why"],
            verdict=present.get("verdict"),
            device_id=self._store.state.device_id or "",
            not_before=facts.not_before,
            not_after=facts.not_after,
        )

    def _view(self) -> View:
        from otscert_agent import plain_page  # noqa: PLC0415  # loaded by then

        present = self._report.present
        return plain_page.View(
            step=present["step"],
            why=present["why"],
            verdict=present.get("verdict"),
            pairing_code=present.get("pairing_code"),
            model=self._settings.model,
            serial=self._settings.serial,
            online=hardware.is_online(),
            url=self._url(),
        )

    def _names(self) -> list[str]:
        try:
            return installed_facts(self._disk).names
        except StateError:  # none yet
            return []

    def _url(self) -> str | None:
        """Where the box serves HTTPS, once it does."""
        names = self._names()
        serves = self._secure.started if self._secure is not None else bool(self._settings.served_at)
        if self.web is None or not names or not serves:
            return None
        port = "" if self.web.port == HTTPS_PORT else f":{self.web.port}"
        return f"https://{names[0]}{port}/"

    def _web_server(self) -> served.WebServer | None:
        settings = self._settings
        if settings.served_at:
            host, port = split_address(settings.served_at, "served_at")
            reload, restart = _command(settings.reload_command), _command(settings.restart_command)
            return served.WebServer(host=host, port=port, reload=reload, restart=restart)
        if self._secure is None:
            return None
        host, port = self._secure.address
        return served.WebServer(host=host, port=port, reload=self._reload)

    def _reload(self) -> str | None:
        assert self._secure is not None  # noqa: S101  # only the built-in page is reloaded so
        self._secure.reload()
        return str(self._secure.error) if self._secure.error else None


def _adopted(inherited: int | None) -> socket.socket | None:
    if inherited is None:
        return None
    listener = socket.socket(fileno=inherited)
    listener.set_inheritable(False)
    return listener


def _inheritable(listener: socket.socket) -> int:
    os.set_inheritable(listener.fileno(), True)  # noqa: FBT003  # the standard library has no keyword for it
    return listener.fileno()


def _command(command: list[str]) -> Callable[[], str | None] | None:
    return (lambda: served.run_command(command)) if command else None
