"""Is what was issued also what is served? Looks at the web server from outside, as a browser would, and mends.

Knows the TLS handshake, the two commands and the way back. Does not know what was issued or why: the caller brings
the fingerprint.
"""

from __future__ import annotations

import hashlib
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Callable

from otscert_agent import config
from otscert_agent.disk import Disk

CONNECT_TIMEOUT_S = 5.0
COMMAND_TIMEOUT_S = 60.0
LOOKS = 8  # with the pauses below: about 10 s for a web server to take up a pair
FIRST_PAUSE_S = 0.05


@dataclass(frozen=True)
class ServedCheck:
    """What the web server presents (hex SHA-256, None when nothing answers) and what was done about it."""

    ok: bool
    served_sha256: str | None
    why: str
    rolled_back: bool = False


@dataclass(frozen=True)
class WebServer:
    """Where the pair is served and how that server is made to load it; commands are lists, no shell."""

    host: str
    port: int
    reload: Callable[[], str | None] | None = None  # returns what went wrong, or None; absent: it watches by itself
    restart: Callable[[], str | None] | None = None


def presented_leaf(host: str, port: int, server_name: str | None) -> str | None:
    """SHA-256 (hex) of the leaf that host:port presents for `server_name`; None when there is no TLS there."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # this asks what is served, not whether to trust it
    try:
        plain = socket.create_connection((_reachable(host), port), CONNECT_TIMEOUT_S)
        with plain, context.wrap_socket(plain, server_hostname=server_name) as secure:
            der = secure.getpeercert(binary_form=True)
    except (OSError, ValueError):
        return None
    return hashlib.sha256(der).hexdigest() if der else None


def run_command(command: Sequence[str]) -> str | None:
    """Run a configured command; returns why it failed, or None. Neither keeps what is the other's."""
    import subprocess  # noqa: PLC0415  # a box that serves its page itself never needs it

    try:
        done = subprocess.run(  # noqa: S603  # the maker's own configuration, a list, no shell
            list(command),
            timeout=COMMAND_TIMEOUT_S,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env=config.without_settings(),
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{command[0]}: {error}"
    return f"{command[0]} ended with status {done.returncode}" if done.returncode else None


def verify(
    server: WebServer, expected: str, name: str | None, disk: Disk, pause: Callable[[float], None]
) -> ServedCheck:
    """Check, reload, restart, and at last go back to the pair before. `pause` waits that many seconds.

    There is a way back only from a certificate that was seen: silence says nothing about the new pair, and whoever can
    keep the web server busy must not choose what is installed.
    """
    found = presented_leaf(server.host, server.port, name)
    notes = []
    for mend in [mend for mend in (server.reload, server.restart) if mend] or [_nothing]:
        if found == expected:
            return ServedCheck(ok=True, served_sha256=found, why="served as issued")
        trouble = mend()
        if trouble:
            notes.append(trouble)
        found = _look_until(server, expected, name, pause)
    if found == expected:
        return ServedCheck(ok=True, served_sha256=found, why="served as issued, after a reload or restart")
    rolled_back = found is not None and _roll_back(disk)
    seen = "another certificate is" if found else "nothing is"
    if rolled_back:
        (server.reload or _nothing)()
        found = presented_leaf(server.host, server.port, name)
    why = "; ".join([f"{seen} served at {server.host}:{server.port}", *notes])
    return ServedCheck(ok=False, served_sha256=found, why=why, rolled_back=rolled_back)


def _nothing() -> str | None:
    return None


def _look_until(server: WebServer, expected: str, name: str | None, pause: Callable[[float], None]) -> str | None:
    found = None
    for look in range(LOOKS):
        found = presented_leaf(server.host, server.port, name)
        if found == expected:
            break
        if look < LOOKS - 1:
            pause(FIRST_PAUSE_S * 2**look)
    return found


def _roll_back(disk: Disk) -> bool:
    """Point `current` to the version before it, when there is one."""
    current = disk.current_pair()
    if current is None:
        return False
    older = sorted(folder for folder in current.parent.iterdir() if folder.name < current.name)
    if not older:
        return False
    disk.point_to(older[-1])
    return True


def _reachable(host: str) -> str:
    # A server that listens on every address is looked at over loopback.
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
