"""Free ports on loopback for parts that cannot listen on port 0 themselves."""

from __future__ import annotations

import socket
from contextlib import ExitStack, suppress

LOOPBACK = "127.0.0.1"
ATTEMPTS = 100


def free_port() -> int:
    """Return a port that is free for TCP and for UDP on 127.0.0.1 at this moment.

    Raises:
        OSError: when no number was free for both.
    """
    for _ in range(ATTEMPTS):
        with ExitStack() as held, suppress(OSError):
            tcp = held.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
            tcp.bind((LOOPBACK, 0))
            port: int = tcp.getsockname()[1]
            held.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)).bind((LOOPBACK, port))
            return port
    raise OSError(f"no port of {LOOPBACK} was free for both TCP and UDP in {ATTEMPTS} attempts")
