"""As much HTTP/1.1 as a status page needs: the head of a request in, one whole answer out, then the connection ends.

Does not know what is shown (`page`, `plain_page`).
"""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass, field

MAX_HEAD_BYTES = 16 * 1024


@dataclass(frozen=True)
class Head:
    """A request's method, path without query, and the values of each header (names in lower case)."""

    method: str
    path: str
    headers: dict[str, list[str]] = field(default_factory=dict)


def read(connection: socket.socket, ends: float) -> bytes | None:
    """Read up to the empty line, however small the pieces; None when it is too long or not there at `ends`."""
    request = b""
    while b"\r\n\r\n" not in request:
        left_s = ends - time.monotonic()
        if left_s <= 0:
            return None
        connection.settimeout(left_s)
        received = connection.recv(4096)
        request += received
        if not received or len(request) > MAX_HEAD_BYTES:
            return None
    return request


def parse(request: bytes) -> Head:
    """Take a head apart, leniently: what cannot be read is an odd method or path, and answered as such."""
    first, *lines = request.split(b"\r\n\r\n", 1)[0].decode("latin-1").split("\r\n")
    method, _, rest = first.partition(" ")
    headers: dict[str, list[str]] = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers.setdefault(name.lower(), []).append(value.strip())
    return Head(method, rest.split(" ", 1)[0].split("?", 1)[0], headers)


def answer(status: str, kind: str, text: str, *, more: tuple[str, ...] = (), with_body: bool = True) -> bytes:
    """Make the whole answer; `more` are further header lines."""
    body = text.encode()
    head = [
        f"HTTP/1.1 {status}",
        f"Content-Type: {kind}",
        f"Content-Length: {len(body)}",
        "Cache-Control: no-store",
        "X-Content-Type-Options: nosniff",
        "Connection: close",
        *more,
    ]
    return "\r\n".join([*head, "", ""]).encode() + (body if with_body else b"")
