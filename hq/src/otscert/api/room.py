"""Who may be connected: bounded in all and by address, and whoever waits longest makes room.

Knows guests and places. Does not know TLS or HTTP: a guest says whether it waits (for a handshake, for a request's
head) or is being answered, and how it is sent away.
"""

from __future__ import annotations

import resource
from collections import OrderedDict
from collections.abc import Callable, Sequence
from ipaddress import ip_address

from otscert.api.http import Network, bucket_of

MOST = 4000
"""Connections at once; each costs about 50 kB."""
MOST_OF_ONE_ADDRESS = 1000
_OTHER_FILES = 256  # database, DNS, connections to the CA


class Guest:
    """One connection. `leave` ends it; it is called at most once."""

    def __init__(self, address: str, leave: Callable[[], object]) -> None:
        self.address = address
        self.leave = leave


class Room:
    """The places of one process. `exempt` networks (trusted proxies) count in all, but not as one address."""

    def __init__(
        self, *, most: int = MOST, most_of_one_address: int = MOST_OF_ONE_ADDRESS, exempt: Sequence[Network] = ()
    ) -> None:
        self._most = most
        self._most_of_one = most_of_one_address
        self._exempt = exempt
        self._waiting: OrderedDict[Guest, None] = OrderedDict()
        self._answered: set[Guest] = set()
        self._of_address: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._waiting) + len(self._answered)

    def bucket(self, peer: str) -> str:
        """The address as it is counted; empty for an exempt one."""
        address = ip_address(peer)
        return "" if any(address in network for network in self._exempt) else bucket_of(address)

    def enter(self, guest: Guest) -> bool:
        """Give a place, sending away whoever waits longest when there is none; False when all are being answered."""
        if guest.address and self._of_address.get(guest.address, 0) >= self._most_of_one:
            if not self._make_place(lambda other: other.address == guest.address):
                return False
        elif len(self) >= self._most and not self._make_place(lambda _other: True):
            return False
        self._waiting[guest] = None
        self._of_address[guest.address] = self._of_address.get(guest.address, 0) + 1
        return True

    def waits(self, guest: Guest) -> None:
        """It has been answered, and may ask again: from now on it waits."""
        if guest in self._answered:
            self._answered.discard(guest)
            self._waiting[guest] = None

    def asks(self, guest: Guest) -> None:
        """Its request's head is there: it is being answered."""
        if guest in self._waiting:
            del self._waiting[guest]
            self._answered.add(guest)

    def left(self, guest: Guest) -> None:
        if guest not in self._waiting and guest not in self._answered:
            return
        self._waiting.pop(guest, None)
        self._answered.discard(guest)
        self._of_address[guest.address] -= 1
        if not self._of_address[guest.address]:
            del self._of_address[guest.address]

    def _make_place(self, fits: Callable[[Guest], bool]) -> bool:
        for guest in self._waiting:
            if fits(guest):
                self.left(guest)
                guest.leave()
                return True
        return False


def room_for_files(most: int = MOST) -> int:
    """Raise this process's limit of open files as far as it may be, and return how many connections fit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = most + _OTHER_FILES
    if soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return min(most, max(16, soft - _OTHER_FILES))
