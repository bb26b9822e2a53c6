"""HTTPS for an admin page in Python that takes up a new certificate by itself.

    server = ReloadingHttpsServer(("0.0.0.0", 443), Path("/var/lib/otscert-agent/current"), MyHandler)
    server.start()

Knows how a pair is loaded and swapped under a running server. Does not know what the page says (`page`). Never sends
Strict-Transport-Security: a box whose certificate ran out must stay reachable with a warning.
"""

from __future__ import annotations

import functools
import os
import socket
import ssl
import threading
import time
from pathlib import Path
from typing import Any, Callable

from otscert_agent.acceptor import REQUEST_TIMEOUT_S, Acceptor, Visit, bind
from otscert_agent.disk import open_own
from otscert_agent.errors import AgentError, StateError
from otscert_agent.facts import CHAIN_FILE, KEY_FILE

_LEAST_TIMEOUT_S = 0.001  # 0 would mean a socket that does not block


Handler = Callable[[ssl.SSLSocket, Any, Any], Any]
"""Called with (connection, client address, server) in a thread of its own: a `BaseHTTPRequestHandler` class is one.

The connection's timeout is what is left of the time for the request's head.
"""


class PairError(AgentError):
    """The pair on disk cannot be served: no such file, or key and chain do not belong together."""


def load_pair(folder: Path) -> ssl.SSLContext:
    """A server context for the pair in `folder`; raise `PairError` when it is not one.

    Always a context of its own: a wrong pair loaded into a context in use breaks that for good.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        for name in (CHAIN_FILE, KEY_FILE):
            os.close(
                open_own(folder / name)
            )  # OpenSSL would wait for a pipe, and read whatever is as large as the disk
        context.load_cert_chain(folder / CHAIN_FILE, folder / KEY_FILE)
    except (OSError, ssl.SSLError, StateError) as error:
        raise PairError(f"the pair in {folder} cannot be served: {error}") from None
    return context


class ReloadingHttpsServer:
    """Serves `handler` with the pair that the symlink `current` points to, looked at for every connection.

    The port is bound at once, and listens after `start`. `listener` is a bound socket to adopt instead. A new pair
    that cannot be served leaves the old one in place; `error` then says why.
    """

    def __init__(
        self,
        address: tuple[str, int],
        current: Path,
        handler: Handler,
        *,
        listener: socket.socket | None = None,
        request_timeout_s: float = REQUEST_TIMEOUT_S,
    ) -> None:
        self.error: PairError | None = None
        self._current = current
        self._context: ssl.SSLContext | None = None
        self._loaded: str | None = None
        self._swap = threading.Lock()
        self._listener = listener or bind(address)
        self._handler = handler
        self._request_timeout_s = request_timeout_s
        self._acceptor: Acceptor | None = None

    @property
    def address(self) -> tuple[str, int]:
        """Host and port that are really bound."""
        host, port = self._listener.getsockname()[:2]
        return host, port

    @property
    def listener(self) -> socket.socket:
        return self._listener

    @property
    def started(self) -> bool:
        return self._acceptor is not None

    def start(self) -> None:
        """Load the pair and begin to answer; raise `PairError` when there is none that works."""
        if self.context() is None:
            raise self.error or PairError(f"{self._current} does not exist yet")
        if self._acceptor is None:
            speak = functools.partial(_speak, self, self._handler)
            self._acceptor = Acceptor(self._listener, speak, self._request_timeout_s)
            self._acceptor.start()

    def context(self) -> ssl.SSLContext | None:
        """The context for the next connection, reloaded when `current` points elsewhere than the last time."""
        with self._swap:
            try:
                target = str(self._current.readlink())
            except OSError:  # reset: the key is gone from the disk and must not be served from memory
                self._context = self._loaded = None
                return None
            if target != self._loaded:
                self._loaded = target
                try:
                    # Resolved once: key and chain come from the same version even if `current` moves meanwhile.
                    self._context = load_pair(self._current.parent / target)
                    self.error = None
                except PairError as error:
                    self.error = error
            return self._context

    def reload(self) -> None:
        """Load the pair again although the symlink has not moved."""
        with self._swap:
            self._loaded = None
        self.context()

    def stop(self) -> None:
        """Stop accepting and close the port."""
        self.drain(0.0)
        self._listener.close()

    def drain(self, timeout_s: float) -> None:
        """Stop accepting (new connections queue in the kernel) and let the open ones end, for at most `timeout_s`."""
        if self._acceptor is not None:
            self._acceptor.drain(timeout_s)
            self._acceptor = None


def _speak(owner: ReloadingHttpsServer, handler: Handler, visit: Visit) -> None:
    context = owner.context()
    if context is None:
        return
    with _wrap(context, visit.connection) as secure:
        try:
            if not visit.becomes(secure):
                return
            secure.do_handshake()
            secure.settimeout(max(visit.ends - time.monotonic(), _LEAST_TIMEOUT_S))
            handler(secure, visit.address, owner)
        finally:
            visit.is_over()


def _wrap(context: ssl.SSLContext, plain: socket.socket) -> ssl.SSLSocket:
    return context.wrap_socket(plain, server_side=True, do_handshake_on_connect=False)
