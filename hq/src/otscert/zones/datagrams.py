"""Many datagrams in one call: recvmmsg(2) and sendmmsg(2), which Python's own sockets do not have.

Knows the kernel's arrays. Does not know DNS, nor when there is something to read.

Of a query's cost to a server nearly all is the way into the kernel and back: NSD and Knot receive and send in batches,
and so does this. Measured against one recvfrom and one sendto per query: docs/decisions/0037.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
from collections.abc import Callable

# A query is far shorter; what is cut off here is answered FORMERR. Answers are bounded by EDNS, at 1232 octets.
SLOT_BYTES = 2048
# Enough to save calls, few enough that timers and TCP get their turn within 0.5 ms.
SLOTS = 64
# From Linux' in.h and in6.h; Python 3.11 does not name the first.
IP_PKTINFO = 8
# ip(7), ipv6(7): struct in_pktinfo is interface, local address, destination; in6_pktinfo is address, interface.
_PKTINFO_BYTES = {socket.AF_INET: 12, socket.AF_INET6: 20}
_INTERFACE_OFFSET = {socket.AF_INET: 0, socket.AF_INET6: 16}
# struct sockaddr_in and sockaddr_in6: where the address is, and how long all is.
_ADDRESS = {socket.AF_INET: (4, 8), socket.AF_INET6: (8, 24)}
_NAME_BYTES = {socket.AF_INET: 16, socket.AF_INET6: 28}
_ANY_INTERFACE = bytes(4)
# Resolvers that ask often are read once.
_REMEMBERED_CLIENTS = 1 << 14


class _Iovec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _Header(ctypes.Structure):
    """recvmsg(2), struct msghdr."""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_bytes", ctypes.c_uint32),
        ("vectors", ctypes.c_void_p),
        ("vector_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_bytes", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _Message(ctypes.Structure):
    """recvmmsg(2), struct mmsghdr: and how many octets were received or sent."""

    _fields_ = (("header", _Header), ("octets", ctypes.c_uint))


# They never block on this socket, so the interpreter's lock is kept: to give it back costs more than the call.
_LIBC = ctypes.PyDLL(None, use_errno=True)
_receive = _LIBC.recvmmsg
_receive.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p)
_send = _LIBC.sendmmsg
_send.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int)
_MESSAGE_BYTES = ctypes.sizeof(_Message)


class Batch:
    """Room for `SLOTS` datagrams of one socket and for an answer to each.

    With `anywhere`, the socket is bound to a wildcard address and hands out IP_PKTINFO (or its IPv6 twin): each answer
    then leaves from the address that its query was sent to, as a client expects; the kernel would choose by route.
    """

    def __init__(self, sock: socket.socket, *, anywhere: bool) -> None:
        family = socket.AddressFamily(sock.family)
        self._fd = sock.fileno()
        self._family = family
        self._name_bytes = _NAME_BYTES[family]
        self._address = _ADDRESS[family]
        self._control_bytes = socket.CMSG_SPACE(_PKTINFO_BYTES[family]) if anywhere else 0
        self._interface_offset = socket.CMSG_LEN(0) + _INTERFACE_OFFSET[family]
        # The kernel writes into these by their addresses; a bytearray stays where it is while a view of it exists.
        self._names = memoryview(bytearray(SLOTS * self._name_bytes))
        self._controls = memoryview(bytearray(max(1, SLOTS * self._control_bytes)))
        self._queries = memoryview(bytearray(SLOTS * SLOT_BYTES))
        self._answers = memoryview(bytearray(SLOTS * SLOT_BYTES))
        self._to_receive, query_vectors = self._messages(self._queries)
        self._to_send, answer_vectors = self._messages(self._answers)
        self._held = (query_vectors, answer_vectors)
        self._query_lengths = self._to_receive.cast("I")[_Message.octets.offset // 4 :: ctypes.sizeof(_Message) // 4]
        self._answer_lengths = answer_vectors.cast("P")[1::2]
        self._receive_at, self._send_at = _address_of(self._to_receive), _address_of(self._to_send)
        self._clients: dict[bytes, str] = {}

    def _messages(self, buffer: memoryview) -> tuple[memoryview, memoryview]:
        """An array of struct mmsghdr, one for each slot of the buffer, and the array of struct iovec behind it."""
        messages = memoryview(bytearray(SLOTS * ctypes.sizeof(_Message)))
        vectors = memoryview(bytearray(SLOTS * ctypes.sizeof(_Iovec)))
        data, names, controls, vectors_at = map(_address_of, (buffer, self._names, self._controls, vectors))
        all_messages, all_vectors = (_Message * SLOTS).from_buffer(messages), (_Iovec * SLOTS).from_buffer(vectors)
        for slot in range(SLOTS):
            all_vectors[slot] = _Iovec(data + slot * SLOT_BYTES, SLOT_BYTES)
            header = _Header(
                names + slot * self._name_bytes,
                self._name_bytes,
                vectors_at + slot * ctypes.sizeof(_Iovec),
                1,
                controls + slot * self._control_bytes if self._control_bytes else None,
                self._control_bytes,
            )
            all_messages[slot] = _Message(header, 0)
        return messages, vectors

    def exchange(self, answer_to: Callable[[bytes, str], bytes | None]) -> tuple[int, int]:
        """Receive what is waiting and send what `answer_to` makes of each datagram and its numeric address.

        Returns how many were received, and how many answers the kernel would not take.

        Raises:
            OSError: the socket cannot be read.
            Exception: what `answer_to` raised last; all other datagrams have been answered.
        """
        count = _receive(self._fd, self._receive_at, SLOTS, socket.MSG_DONTWAIT, None)
        if count < 0:
            number = ctypes.get_errno()
            if number in (errno.EAGAIN, errno.EINTR):
                return 0, 0
            raise OSError(number, os.strerror(number))
        queries, lengths, known, names = self._queries, self._query_lengths, self._clients, self._names
        answers, answer_lengths, name_bytes = self._answers, self._answer_lengths, self._name_bytes
        address_start, address_stop = self._address
        failure: Exception | None = None
        first = unsent = start = 0
        for slot in range(count):
            address = names[slot * name_bytes + address_start : slot * name_bytes + address_stop].tobytes()
            client = known.get(address) or self._client(address)
            try:
                answer = answer_to(queries[start : start + lengths[slot]].tobytes(), client)
            except Exception as error:  # noqa: BLE001 - it is raised once the others have their answers
                answer, failure = None, error
            if answer is None:
                unsent += self._sent(first, slot)
                first = slot + 1
            else:
                answers[start : start + len(answer)] = answer
                answer_lengths[slot] = len(answer)
            start += SLOT_BYTES
        unsent += self._sent(first, count)
        if failure is not None:
            raise failure
        return count, unsent

    def _sent(self, first: int, end: int) -> int:
        """Send the answers in these slots; returns how many the kernel would not take."""
        unsent = 0
        if self._control_bytes:
            # Interface 0 leaves the way back to the routing table.
            for at in range(
                first * self._control_bytes + self._interface_offset, end * self._control_bytes, self._control_bytes
            ):
                self._controls[at : at + 4] = _ANY_INTERFACE
        while first < end:
            count = _send(self._fd, self._send_at + first * _MESSAGE_BYTES, end - first, socket.MSG_DONTWAIT)
            if count > 0:
                first += count
            else:
                # The kernel's buffer is full or this one's address cannot be reached (port 0, no route). UDP may lose
                # answers and the client asks again; the others go out.
                unsent += 1
                first += 1
        return unsent

    def _client(self, address: bytes) -> str:
        if len(self._clients) >= _REMEMBERED_CLIENTS:
            self._clients.clear()
        client = self._clients[address] = socket.inet_ntop(self._family, address)
        return client


def _address_of(view: memoryview) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(view))
