"""DNS over UDP on a socket of our own: the loop says when to read, one wake-up answers many.

Knows datagrams. Does not know what is asked: every datagram goes to the given answer function.

Measured: `add_reader` with a drained socket costs 10 % less per query than an asyncio datagram endpoint.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Callable

from otscert.zones.datagrams import IP_PKTINFO, Batch

Answer = Callable[[bytes, str], bytes | None]

# Room in the kernel for a burst while the process does something else.
_KERNEL_BUFFER_BYTES = 1 << 20


def udp_socket(family: socket.AddressFamily, host: str, port: int, *, share: bool = False) -> socket.socket:
    """A bound, non-blocking datagram socket; with `share`, others of the same user may bind the same port.

    Raises:
        OSError: the address cannot be bound.
    """
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.settimeout(0)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(share))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _KERNEL_BUFFER_BYTES)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, int(_is_wildcard(host)))
        else:
            sock.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, int(_is_wildcard(host)))
        sock.bind((host, port))
    except BaseException:
        sock.close()
        raise
    return sock


class UdpListener:
    """Answers the datagrams of one socket, which it owns."""

    def __init__(self, sock: socket.socket, answer: Answer) -> None:
        self.unsent = 0
        self._sock = sock
        self._answer = answer
        self._batch = Batch(sock, anywhere=_is_wildcard(sock.getsockname()[0]))

    def start(self) -> None:
        """Begin to answer on the running loop."""
        asyncio.get_running_loop().add_reader(self._sock, self._readable)

    def close(self) -> None:
        """Stop, and give the port back."""
        asyncio.get_running_loop().remove_reader(self._sock)
        self._sock.close()

    def _readable(self) -> None:
        # One batch, then timers and TCP have their turn; what is left waiting makes the socket readable again.
        _, unsent = self._batch.exchange(self._answer)
        self.unsent += unsent


def _is_wildcard(host: str) -> bool:
    return ipaddress.ip_address(host).is_unspecified
