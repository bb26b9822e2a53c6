"""Somebody between a box and HQ: a real TLS proxy that ends TLS, reads and changes what passes, or lets it through.

Without an `attack` he is gone: bytes go to HQ as they come. Knows HTTP and TLS, and nothing of what is in a message.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from otscert_agent.wire.jws import CONTENT_TYPE

LOOPBACK = "127.0.0.1"
LONG_POLL_S = 40.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed:
    """An HTTP answer, HQ's or the attacker's own."""

    status: int
    kind: str
    body: bytes


@dataclass(slots=True, kw_only=True)
class Passing:
    """One request on its way. `forward` gives it, or another one, to HQ and returns HQ's answer."""

    path: str
    body: bytes
    forward: Callable[[bytes], Passed]


Attack = Callable[[Passing], Passed]


@dataclass(slots=True, kw_only=True)
class OnPath:
    """Listens at `port` for boxes. `pair` is the certificate and key with which he ends TLS."""

    hq_port: int
    hq_roots: Path
    listener: socket.socket
    pair: Path
    attack: Attack | None = None
    met: list[Passing] = field(default_factory=list)

    @property
    def port(self) -> int:
        return int(self.listener.getsockname()[1])

    def serve(self) -> None:
        while True:
            try:
                box, _ = self.listener.accept()
            except OSError:
                return
            meet = self._relay if self.attack is None else self._meet
            threading.Thread(target=_quietly, args=(meet, box), daemon=True).start()

    def _relay(self, box: socket.socket) -> None:
        """Bytes in both directions, unread."""
        with box, socket.create_connection((LOOPBACK, self.hq_port)) as hq:
            back = threading.Thread(target=_quietly, args=(lambda source: _pump(source, box), hq), daemon=True)
            back.start()
            _pump(box, hq)
            back.join(LONG_POLL_S)

    def _meet(self, box: socket.socket) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.pair)
        with box, context.wrap_socket(box, server_side=True) as secure, secure.makefile("rb") as reading:
            path, length = reading.readline().split()[1].decode(), 0
            while line := reading.readline().strip():
                name, _, value = line.partition(b":")
                length = int(value) if name.lower() == b"content-length" else length
            passing = Passing(path=path, body=reading.read(length), forward=lambda body: self._forward(path, body))
            self.met.append(passing)
            attack = self.attack
            answer = attack(passing) if attack is not None else passing.forward(passing.body)
            head = f"HTTP/1.1 {answer.status} X\r\nContent-Type: {answer.kind}\r\nConnection: close\r\n"
            secure.sendall(f"{head}Content-Length: {len(answer.body)}\r\n\r\n".encode() + answer.body)

    def _forward(self, path: str, body: bytes) -> Passed:
        trust = ssl.create_default_context(cafile=str(self.hq_roots))
        connection = http.client.HTTPSConnection(LOOPBACK, self.hq_port, context=trust, timeout=LONG_POLL_S)
        try:
            connection.request("POST", path, body, {"Content-Type": CONTENT_TYPE})
            answer = connection.getresponse()
            return Passed(status=answer.status, kind=answer.headers.get_content_type(), body=answer.read())
        finally:
            connection.close()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    while chunk := source.recv(65536):
        sink.sendall(chunk)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


def _quietly(work: Callable[[socket.socket], None], connection: socket.socket) -> None:
    """A box that hangs up, or refuses the certificate, ends this connection and nothing else."""
    with suppress(OSError, ssl.SSLError, http.client.HTTPException, IndexError, ValueError):
        work(connection)


@contextmanager
def on_path(listener: socket.socket, *, hq_port: int, hq_roots: Path, pair: Path) -> Iterator[OnPath]:
    """Stand on the path for as long as the block runs; `listener` is where boxes believe HQ to be."""
    one = OnPath(hq_port=hq_port, hq_roots=hq_roots, listener=listener, pair=pair)
    thread = threading.Thread(target=one.serve, name="on-path", daemon=True)
    thread.start()
    try:
        yield one
    finally:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)
