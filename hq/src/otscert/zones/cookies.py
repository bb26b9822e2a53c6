"""DNS cookies (RFC 7873, 9018): a client that shows ours can be reached at its address.

Knows the option's octets and when a cookie is good. Has no clock and keeps nothing: all processes with the same secret
take each other's cookies, before and after a restart.

A server cookie is version, three reserved octets, when it was made (seconds, 4 octets), and 8 octets of BLAKE2s keyed
with the secret over the client's cookie, those fields and the client's address: the layout of RFC 9018 4. Version 1
there is SipHash-2-4; 240 to 254 are for private use (RFC 9018 7), so ours is 240. To a client it is 16 octets to be
shown again; only a server of another make behind the same address would read it, and call it bad.
"""

from __future__ import annotations

import hmac
from enum import Enum
from hashlib import blake2s
from typing import NamedTuple

from otscert.zones import wire

_VERSION = b"\xf0\0\0\0"
# RFC 9018 4.3: "allow Cookies within a 1-hour period in the past and a 5-minute period into the future", and make a new
# one when the one received "is older than half an hour".
_GOOD_FOR_S = 3600
_FUTURE_S = 300
_NEW_AFTER_S = 1800


class Standing(Enum):
    """What a query's COOKIE option says of its client."""

    NEW = "new"
    VALID = "valid"
    BAD = "bad"


class Judged(NamedTuple):
    """How a cookie stands, and the 24 octets (client's and server's) that go back."""

    standing: Standing
    cookie: bytes


class Cookies:
    """Makes and judges cookies; `secret` has 16 to 32 octets."""

    __slots__ = ("_keyed",)

    def __init__(self, secret: bytes) -> None:
        self._keyed = blake2s(key=secret, digest_size=8)

    def judge(self, cookie: bytes, client: str, now_s: int) -> Judged:
        """Judge what a query brought, in a length that is allowed; `client` is its numeric address."""
        mine = cookie[: wire.CLIENT_COOKIE_BYTES]
        if len(cookie) == wire.CLIENT_COOKIE_BYTES:
            return Judged(Standing.NEW, self._made(mine, now_s, client))
        if not self._is_ours(cookie, client):
            return Judged(Standing.BAD, self._made(mine, now_s, client))
        # RFC 9018 4.3 wants serial number arithmetic: 32 bits of seconds end in 2106.
        age_s = (now_s - int.from_bytes(cookie[12:16]) + 2**31) % 2**32 - 2**31
        if not -_FUTURE_S <= age_s <= _GOOD_FOR_S:
            return Judged(Standing.BAD, self._made(mine, now_s, client))
        return Judged(Standing.VALID, self._made(mine, now_s, client) if age_s > _NEW_AFTER_S else cookie)

    def _is_ours(self, cookie: bytes, client: str) -> bool:
        # The reserved octets are not looked at but hashed (RFC 9018 4.2): later versions may use them.
        if len(cookie) != wire.COOKIE_BYTES or cookie[8] != _VERSION[0]:
            return False
        return hmac.compare_digest(cookie[16:], self._hash(cookie[:16], client))

    def _made(self, mine: bytes, now_s: int, client: str) -> bytes:
        fields = mine + _VERSION + (now_s % 2**32).to_bytes(4)
        return fields + self._hash(fields, client)

    def _hash(self, fields: bytes, client: str) -> bytes:
        keyed = self._keyed.copy()
        keyed.update(fields + client.encode())
        return keyed.digest()
