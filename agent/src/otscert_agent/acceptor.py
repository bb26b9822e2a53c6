"""Connections on a LAN port, a thread each, with limits that nobody who drips or hoards can stretch.

Knows sockets and time. Does not know TLS (`serve`) or what is said (`page`, `plain_page`). The listener belongs to
somebody else, so that it can be handed to the next image of the process.
"""

from __future__ import annotations

import contextlib
import itertools
import select
import socket
import threading
import time
from typing import Any, Callable

REQUEST_TIMEOUT_S = 10.0  # from accept: everything up to the end of the request's head
MAX_CONNECTIONS = 64  # a LAN page; more at once is a fault or an attack, and the oldest makes room
SHORT_PAUSE_S = 0.1
_BACKLOG = 128


def bind(address: tuple[str, int]) -> socket.socket:
    """Bind a port; it does not listen yet."""
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except BaseException:
        listener.close()
        raise
    return listener


class Visit:
    """One connection. `ends` is when the head of its request has to be there (monotonic s)."""

    def __init__(self, acceptor: Acceptor, number: int, plain: socket.socket, address: Any, ends: float) -> None:
        self._acceptor = acceptor
        self._number = number
        self.connection = plain
        self.address = address
        self.ends = ends

    def becomes(self, connection: socket.socket) -> bool:
        """The plain socket gave its descriptor to this one; False when the visit has had to make room meanwhile."""
        return self._acceptor.swap(self._number, connection)

    def is_over(self) -> None:
        """To be said before the descriptor is closed: it may be another connection's at once."""
        self._acceptor.forget(self._number)


class Acceptor:
    """Accepts on `listener` and calls `speak` in a thread of its own for each visit."""

    def __init__(
        self, listener: socket.socket, speak: Callable[[Visit], None], request_timeout_s: float = REQUEST_TIMEOUT_S
    ) -> None:
        self._listener = listener
        self._speak = speak
        self._request_timeout_s = request_timeout_s
        self._open: dict[int, socket.socket] = {}  # by number, the oldest first
        self._numbers = itertools.count()
        self._change = threading.Lock()
        self._wake_receive, self._wake_send = socket.socketpair()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._idle = threading.Event()
        self._idle.set()

    def start(self) -> None:
        self._listener.listen(_BACKLOG)
        self._thread.start()

    def drain(self, timeout_s: float) -> None:
        """Stop accepting (new connections queue in the kernel) and let the open ones end, for at most `timeout_s`."""
        self._wake_send.send(b".")
        self._thread.join()
        self._wake_receive.close()
        self._wake_send.close()
        self._idle.wait(timeout_s)

    def swap(self, number: int, connection: socket.socket) -> bool:
        with self._change:
            if number not in self._open:
                return False
            self._open[number] = connection
            return True

    def forget(self, number: int) -> None:
        with self._change:
            self._open.pop(number, None)
            if not self._open:
                self._idle.set()

    def _run(self) -> None:
        self._listener.settimeout(0.0)
        while True:
            ready, _, _ = select.select([self._listener, self._wake_receive], [], [])
            if self._wake_receive in ready:
                return
            try:
                connection, address = self._listener.accept()
            except (BlockingIOError, ConnectionError):  # the client is gone again
                continue
            except OSError:  # descriptors are short: it stays in the queue, and asking at once would be a busy loop
                time.sleep(SHORT_PAUSE_S)
                continue
            self._begin(connection, address)

    def _begin(self, connection: socket.socket, address: Any) -> None:
        number = next(self._numbers)
        with self._change:
            if len(self._open) >= MAX_CONNECTIONS:
                _hang_up(self._open.pop(next(iter(self._open))))
            self._open[number] = connection
            self._idle.clear()
        visit = Visit(self, number, connection, address, time.monotonic() + self._request_timeout_s)
        try:
            threading.Thread(target=self._serve, args=(visit, connection), daemon=True).start()
        except RuntimeError:  # no more threads (a limit of tasks, little memory): as with too many connections
            connection.close()
            self.forget(number)
            with self._change:
                if self._open:
                    _hang_up(self._open.pop(next(iter(self._open))))

    def _serve(self, visit: Visit, plain: socket.socket) -> None:
        # A client that goes away, speaks no TLS or distrusts the page is no event for the box.
        with contextlib.suppress(OSError), plain:
            try:
                plain.settimeout(self._request_timeout_s)
                self._speak(visit)
            finally:
                visit.is_over()


def _hang_up(connection: socket.socket) -> None:
    """End a connection that another thread is reading from; that thread closes it."""
    with contextlib.suppress(OSError):  # gone already
        # Not SSLSocket's own: that one would go on in plain text.
        socket.socket.shutdown(connection, socket.SHUT_RDWR)
