"""HTTPS for an admin page in Python that takes up a new certificate by itself.

    server = ReloadingHttpsServer(("0.0.0.0", 443), Path("/var/lib/otscert-agent/current"), MyHandler)
    server.start()

Knows how a pair is loaded and swapped under a running server. Does not know what the page says (`page`). Never sends
Strict-Transport-Security: a box whose certificate ran out must stay reachable with a warning.
"""

from __future__ import annotations

import contextlib
import itertools
import select
import socket
import ssl
import threading
import time
from pathlib import Path
from typing import Any, Callable

from otscert_agent.errors import AgentError
from otscert_agent.facts import CHAIN_FILE, KEY_FILE

REQUEST_TIMEOUT_S = 10.0  # from accept: TLS handshake and the request's head
MAX_CONNECTIONS = 64  # a LAN page; more at once is a fault or an attack, and the oldest makes room
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
        context.load_cert_chain(folder / CHAIN_FILE, folder / KEY_FILE)
    except (OSError, ssl.SSLError) as error:
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
        self._listener = listener or _bind(address)
        self._handler = handler
        self._request_timeout_s = request_timeout_s
        self._acceptor: _Acceptor | None = None

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
            self._listener.listen(128)
            self._acceptor = _Acceptor(self, self._listener, self._handler, self._request_timeout_s)
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
            self._acceptor.stop()
            self._acceptor.idle.wait(timeout_s)
            self._acceptor = None


def _bind(address: tuple[str, int]) -> socket.socket:
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except BaseException:
        listener.close()
        raise
    return listener


class _Acceptor:
    """Accepts on a listener that somebody else owns: a thread per connection, TLS inside that thread."""

    def __init__(
        self, owner: ReloadingHttpsServer, listener: socket.socket, handler: Handler, request_timeout_s: float
    ) -> None:
        self._owner = owner
        self._listener = listener
        self._handler = handler
        self._request_timeout_s = request_timeout_s
        self._open: dict[int, socket.socket] = {}  # by number, the oldest first
        self._numbers = itertools.count()
        self._change = threading.Lock()
        self._wake_receive, self._wake_send = socket.socketpair()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.idle = threading.Event()
        self.idle.set()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._wake_send.send(b".")
        self._thread.join()
        self._wake_receive.close()
        self._wake_send.close()

    def _run(self) -> None:
        self._listener.settimeout(0.0)
        while True:
            ready, _, _ = select.select([self._listener, self._wake_receive], [], [])
            if self._wake_receive in ready:
                return
            # The client may be gone again, or descriptors may be short for a moment: the next one is served.
            with contextlib.suppress(OSError):
                connection, address = self._listener.accept()
                self._begin(connection, address)

    def _begin(self, connection: socket.socket, address: Any) -> None:
        number = next(self._numbers)
        with self._change:
            if len(self._open) >= MAX_CONNECTIONS:
                _hang_up(self._open.pop(next(iter(self._open))))
            self._open[number] = connection
            self.idle.clear()
        threading.Thread(target=self._serve, args=(number, connection, address), daemon=True).start()

    def _serve(self, number: int, plain: socket.socket, address: Any) -> None:
        ends = time.monotonic() + self._request_timeout_s
        # A client that goes away, speaks no TLS or distrusts the page is no event for the box.
        with contextlib.suppress(OSError), plain:
            try:
                plain.settimeout(self._request_timeout_s)
                context = self._owner.context()
                if context is not None:
                    self._speak(number, _wrap(context, plain), address, ends)
            finally:
                self._forget(number)

    def _speak(self, number: int, secure: ssl.SSLSocket, address: Any, ends: float) -> None:
        with secure:
            try:
                with self._change:
                    if number not in self._open:  # it has made room meanwhile
                        return
                    self._open[number] = secure  # the plain socket gave its descriptor to this one
                secure.do_handshake()
                secure.settimeout(max(ends - time.monotonic(), _LEAST_TIMEOUT_S))
                self._handler(secure, address, self)
            finally:
                self._forget(number)  # before it is closed: its descriptor may be another connection's at once

    def _forget(self, number: int) -> None:
        with self._change:
            self._open.pop(number, None)
            if not self._open:
                self.idle.set()


def _wrap(context: ssl.SSLContext, plain: socket.socket) -> ssl.SSLSocket:
    return context.wrap_socket(plain, server_side=True, do_handshake_on_connect=False)


def _hang_up(connection: socket.socket) -> None:
    """End a connection that another thread is reading from; that thread closes it."""
    with contextlib.suppress(OSError):  # gone already
        # Not SSLSocket's own: that one would go on in plain text.
        socket.socket.shutdown(connection, socket.SHUT_RDWR)
