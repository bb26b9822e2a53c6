"""The page over plain HTTP: there before any certificate, any network and any randomness; without cryptography.

Knows the port and its limits (`acceptor`). What is said is `plain_page`.
"""

from __future__ import annotations

import socket
from typing import Callable

from otscert_agent import http_head
from otscert_agent.acceptor import REQUEST_TIMEOUT_S, Acceptor, Visit, bind


class PlainServer:
    """Answers each request's head with what `answer` makes of it. The port is bound at once, listens after `start`."""

    def __init__(
        self,
        address: tuple[str, int],
        answer: Callable[[bytes], bytes],
        *,
        listener: socket.socket | None = None,
        request_timeout_s: float = REQUEST_TIMEOUT_S,
    ) -> None:
        self.listener = listener or bind(address)
        self._answer = answer
        self._request_timeout_s = request_timeout_s
        self._acceptor: Acceptor | None = None

    @property
    def address(self) -> tuple[str, int]:
        """Host and port that are really bound."""
        host, port = self.listener.getsockname()[:2]
        return host, port

    def start(self) -> None:
        self._acceptor = Acceptor(self.listener, self._speak, self._request_timeout_s)
        self._acceptor.start()

    def drain(self, timeout_s: float) -> None:
        """Stop accepting (new connections queue in the kernel) and let the open ones end, for at most `timeout_s`."""
        if self._acceptor is not None:
            self._acceptor.drain(timeout_s)
            self._acceptor = None

    def stop(self) -> None:
        """Stop accepting and close the port."""
        self.drain(0.0)
        self.listener.close()

    def _speak(self, visit: Visit) -> None:
        request = http_head.read(visit.connection, visit.ends)
        if request is not None:
            visit.connection.sendall(self._answer(request))
