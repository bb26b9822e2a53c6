"""Ways to ask that do not wait for ever: has a host name addresses, who has a port?"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
import threading
from enum import Enum
from pathlib import Path

from otscert.pki.files import PkiFolder

CONNECT_S = 3.0


class Resolved(Enum):
    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"  # no resolver answered


class Held(Enum):
    """Who has a port."""

    OURS = "ours"
    OTHERS = "others"
    FREE = "free"
    FORBIDDEN = "forbidden"
    ABSENT = "absent"  # no interface of this machine has the address


async def resolves(host: str, *, limit_s: float = CONNECT_S) -> Resolved:
    """Ask the system for a host's addresses.

    In a thread of its own that nobody waits for: `getaddrinfo` cannot be cancelled, takes half a minute without a
    network, and would hold the interpreter's end for as long.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[Resolved] = loop.create_future()

    def tell(outcome: Resolved) -> None:
        if not answer.done():
            answer.set_result(outcome)

    def ask() -> None:
        try:
            socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
            outcome = Resolved.YES
        except socket.gaierror as error:
            outcome = Resolved.NO if error.errno in {socket.EAI_NONAME, socket.EAI_NODATA} else Resolved.UNKNOWN
        except (OSError, UnicodeError):
            outcome = Resolved.NO
        if not loop.is_closed():
            loop.call_soon_threadsafe(tell, outcome)

    threading.Thread(target=ask, daemon=True).start()
    try:
        return await asyncio.wait_for(answer, limit_s)
    except TimeoutError:
        return Resolved.UNKNOWN


def own_trust(pki: PkiFolder) -> ssl.SSLContext | None:
    """A client that believes HQ's own root only, as boxes do; None when there is no root."""
    root: Path = pki.root_pem
    try:
        return ssl.create_default_context(cafile=str(root))
    except (OSError, ssl.SSLError):
        return None


def can_bind(host: str, port: int, kind: socket.SocketKind) -> Held:
    """Try to take a port for a moment, without listening."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, kind) as probe:
        if kind is socket.SOCK_STREAM:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return {errno.EACCES: Held.FORBIDDEN, errno.EADDRNOTAVAIL: Held.ABSENT}.get(error.errno or 0, Held.OTHERS)
    return Held.FREE


def asked_at(host: str) -> str:
    """Where to connect to ask a listener of this machine: loopback for "every address"."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)


def shown(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
