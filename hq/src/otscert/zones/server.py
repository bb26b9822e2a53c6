"""The embedded name server: one zone on UDP and TCP, at any number of addresses.

Knows listening. Does not know DNS: the zone answers, `udp` and `tcp` carry.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import secrets
import socket

from otscert.zones.cookies import Cookies
from otscert.zones.errors import ListenError
from otscert.zones.front import Front, Signed
from otscert.zones.question_log import QuestionLog
from otscert.zones.rate import RateLimit
from otscert.zones.tcp import Answer as TcpAnswer
from otscert.zones.tcp import TcpConnections
from otscert.zones.udp import Answer as UdpAnswer
from otscert.zones.udp import UdpListener, udp_socket
from otscert.zones.zone import Zone

# Below the usual limit of 1024 open files; more clients than this make the longest waiting ones leave.
_MOST_CONNECTIONS = 500
_IDLE_S = 10.0
_SECRET_BYTES = 32
_BACKLOG = 1024
# A free TCP port may be taken on UDP; the next one is as good.
_PORT_TRIES = 50


class DnsServer:
    """Answers for one zone; start it once per address, stop it once.

    `signed` answers queries with a TSIG record; None: the record is ignored, as any that a server does not know.
    `cookie_secret` (16 to 32 octets) is the same for all servers that a client may meet at one address; None: this
    server's own. `rate_limit_per_s` is what a network gets over UDP without a cookie, 0 without end; `share_port` lets
    other processes listen on the same port; one question in `log_one_in` is logged, 0: none.
    `idle_s` is how long a TCP client may take for a whole query, `most_connections` how many may be open.
    """

    def __init__(
        self,
        zone: Zone,
        *,
        signed: Signed | None = None,
        cookie_secret: bytes | None = None,
        rate_limit_per_s: int = 0,
        share_port: bool = False,
        log_one_in: int = 0,
        idle_s: float = _IDLE_S,
        most_connections: int = _MOST_CONNECTIONS,
    ) -> None:
        front = Front(
            zone.responder,
            zone.counters,
            Cookies(cookie_secret or secrets.token_bytes(_SECRET_BYTES)),
            limit=RateLimit(rate_limit_per_s) if rate_limit_per_s else None,
            signed=signed,
        )
        datagram: UdpAnswer = front.datagram
        message: TcpAnswer = front.message
        if log_one_in:
            log = QuestionLog(one_in=log_one_in)
            datagram, message = log.watch(datagram, transport="udp"), log.watch(message, transport="tcp")
        self._answer_datagram = datagram
        self._share_port = share_port
        self._connections = TcpConnections(message, most=most_connections, idle_s=idle_s)
        self._listeners: list[UdpListener] = []
        self._servers: list[asyncio.Server] = []
        self._addresses: list[tuple[str, int]] = []

    @property
    def addresses(self) -> tuple[tuple[str, int], ...]:
        """Host and port of every address served, in the order of the starts."""
        return tuple(self._addresses)

    @property
    def open_connections(self) -> int:
        """How many TCP clients are connected."""
        return len(self._connections)

    @property
    def unsent(self) -> int:
        """How many UDP answers the kernel would not send."""
        return sum(listener.unsent for listener in self._listeners)

    async def start(self, host: str, port: int) -> None:
        """Listen on UDP and TCP at one numeric address; port 0 takes one that is free on both.

        On a wildcard address every answer leaves from the address that was asked.

        Raises:
            ListenError: with what to do; nothing of this start is left open.
        """
        stream, datagram = _bound(host, port, share=self._share_port)
        listener = UdpListener(datagram, self._answer_datagram)
        try:
            server = await asyncio.get_running_loop().create_server(
                self._connections.connection, sock=stream, backlog=_BACKLOG
            )
        except BaseException:
            stream.close()
            datagram.close()
            raise
        listener.start()
        self._listeners.append(listener)
        self._servers.append(server)
        self._addresses.append((host, datagram.getsockname()[1]))

    async def stop(self) -> None:
        """Give all ports back and drop all clients; stopping twice is fine."""
        for listener in self._listeners:
            listener.close()
        for server in self._servers:
            server.close()
        self._connections.close()
        for server in self._servers:
            await server.wait_closed()
        self._listeners.clear()
        self._servers.clear()
        self._addresses.clear()


def _bound(host: str, port: int, *, share: bool) -> tuple[socket.socket, socket.socket]:
    try:
        version = ipaddress.ip_address(host).version
    except ValueError:
        raise ListenError(f"cannot listen on {host!r}: it is not a numeric IPv4 or IPv6 address") from None
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    for tries_left in reversed(range(1 if port else _PORT_TRIES)):
        stream = _bound_stream(family, host, port, share=share)
        chosen = stream.getsockname()[1]
        try:
            return stream, udp_socket(family, host, chosen, share=share)
        except OSError as error:
            stream.close()
            if error.errno != errno.EADDRINUSE or not tries_left:
                raise ListenError(_sentence("UDP", host, chosen, error)) from error
    raise AssertionError("the last try returns or raises")


def _bound_stream(family: socket.AddressFamily, host: str, port: int, *, share: bool) -> socket.socket:
    stream = socket.socket(family, socket.SOCK_STREAM)
    try:
        stream.settimeout(0)
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(share))
        if family == socket.AF_INET6:
            stream.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        stream.bind((host, port))
        # Two servers may both bind with SO_REUSEADDR; only one of them can listen, and it must show now.
        stream.listen(_BACKLOG)
    except OSError as error:
        stream.close()
        raise ListenError(_sentence("TCP", host, port, error)) from error
    return stream


def _sentence(transport: str, host: str, port: int, error: OSError) -> str:
    hints = {
        errno.EADDRINUSE: "another name server has it; stop that one or choose another port",
        errno.EACCES: "ports below 1024 need CAP_NET_BIND_SERVICE; grant it or choose a higher port",
        errno.EADDRNOTAVAIL: "no interface of this machine has the address",
    }
    hint = hints.get(error.errno or 0, "")
    return f"cannot listen on {transport} {host} port {port}: {error.strerror}" + (f" ({hint})" if hint else "")
