"""A name server that takes updates of its zone: signs them, sends them over TCP, and says why one was not taken.

Knows TSIG (RFC 8945, by dnspython) and the codes of RFC 2136. Each code becomes a sentence with what to do about it.
"""

from __future__ import annotations

import asyncio
import secrets
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import dns.exception
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rdtypes.ANY.TSIG
import dns.tsig

from otscert.zones.errors import UpdateError
from otscert.zones.update import Change, messages

ANSWER_S = 10.0
# RFC 8945 10: "The RECOMMENDED value is 300 seconds".
_FUDGE_S = 300
_LENGTH_BYTES = 2
_ADCOUNT = slice(10, 12)
_CODE_BYTE = 3
_CODE_MASK = 0x0F

_HINTS = {
    dns.rcode.NOTAUTH: "it is not the primary of the zone: updates.servers must name the server where it is",
    dns.rcode.NOTZONE: "it says that a name lies outside of the zone: zone.origin must be the zone's name there",
    dns.rcode.REFUSED: "the key may not change these records there: allow it (BIND: update-policy, Knot:"
    " acl with action update)",
    dns.rcode.SERVFAIL: "it cannot write the zone: look at its log (its folder must be writable for the journal)",
    dns.rcode.NOTIMP: "it takes no updates at all: name a server that has the zone as primary and knows RFC 2136",
    dns.rcode.FORMERR: "it could not read the update: look at its log",
}


def _seconds() -> int:
    return int(time.time())


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateServer:
    """`origin` is the zone in wire format; `now_s` is the clock that signatures carry."""

    host: str
    port: int
    origin: bytes
    key: dns.tsig.Key
    now_s: Callable[[], int] = _seconds
    answer_s: float = ANSWER_S

    @property
    def shown(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    async def update(self, changes: Sequence[Change]) -> int:
        """Have the server make these changes; returns in how many messages, of which each is taken wholly or not.

        Raises:
            UpdateError: this server did not take one, or did not say that it did; those before it are made.
        """
        sent = 0
        for unsigned in messages(self.origin, changes):
            await self._update(unsigned)
            sent += 1
        return sent

    async def _update(self, unsigned: bytes) -> None:
        request, mac = signed(unsigned, self.key, now_s=self.now_s())
        try:
            async with asyncio.timeout(self.answer_s):
                answer = await _exchange(self.host, self.port, request)
        except TimeoutError:
            raise UpdateError("no answer", f"{self.shown} did not answer within {self.answer_s:.0f} s") from None
        except (OSError, EOFError) as error:
            why = f"{self.shown} cannot be reached ({type(error).__name__} {error}): does a name server run there?"
            raise UpdateError("no answer", why) from error
        self._judge(answer, request_id=request[:2], mac=mac)

    def _judge(self, answer: bytes, *, request_id: bytes, mac: bytes) -> None:
        """Raise `UpdateError` unless this says, signed, that the update was taken."""
        key = self.key.name.to_text(omit_final_dot=True)
        try:
            message = dns.message.from_wire(answer, keyring=self.key, request_mac=mac)
        except dns.tsig.PeerBadKey:
            why = f"{self.shown} does not know the key {key}: add it there, by this name and algorithm (BADKEY)"
            raise UpdateError("key", why) from None
        except dns.tsig.PeerBadSignature:
            why = f"{self.shown} has another secret or algorithm for the key {key}: make them the same (BADSIG)"
            raise UpdateError("key", why) from None
        except dns.tsig.PeerBadTime:
            why = f"the clocks of {self.shown} and HQ differ by more than {_FUDGE_S} s: set them (BADTIME)"
            raise UpdateError("time", why) from None
        except dns.exception.DNSException as error:
            # A refusal needs no signature to be believed: it makes us wait, no more.
            self._judge_code(dns.rcode.Rcode(answer[_CODE_BYTE] & _CODE_MASK) if len(answer) > _CODE_BYTE else None)
            why = f"what {self.shown} answered cannot be trusted ({type(error).__name__}: {error})"
            raise UpdateError("unusable", why) from error
        if answer[:2] != request_id:
            raise UpdateError("unusable", f"{self.shown} answered another message than the update")
        self._judge_code(message.rcode())
        if not message.had_tsig:
            raise UpdateError("unusable", f"{self.shown} took the update but did not sign its answer with {key}")

    def _judge_code(self, code: dns.rcode.Rcode | None) -> None:
        if code:
            name = dns.rcode.to_text(code)
            raise UpdateError(name.lower(), f"{self.shown} answered {name}: {_HINTS.get(code, 'look at its log')}")


def signed(message: bytes, key: dns.tsig.Key, *, now_s: int) -> tuple[bytes, bytes]:
    """Give a message a new ID and a signature as its last record; returns it, and its MAC to judge the answer by."""
    request = secrets.token_bytes(2) + message[2:]
    unsigned = dns.rdtypes.ANY.TSIG.TSIG(  # type: ignore[no-untyped-call]
        dns.rdataclass.ANY,
        dns.rdatatype.TSIG,
        key.algorithm,
        now_s,
        _FUDGE_S,
        b"",
        int.from_bytes(request[:2]),
        dns.rcode.NOERROR,
        b"",
    )
    rdata, _ = dns.tsig.sign(request, key, unsigned, now_s, b"")  # type: ignore[no-untyped-call]
    octets = rdata.to_wire()
    # RFC 8945 5.2: the TSIG record is the last one of the additional section, counted there.
    count = (int.from_bytes(request[_ADCOUNT]) + 1).to_bytes(2)
    head = struct.pack("!HHIH", dns.rdatatype.TSIG, dns.rdataclass.ANY, 0, len(octets))
    return b"".join((request[:10], count, request[12:], key.name.to_wire() or b"", head, octets)), rdata.mac


async def _exchange(host: str, port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        # RFC 1035 4.2.2: a message over TCP has its length in front.
        writer.write(len(request).to_bytes(_LENGTH_BYTES) + request)
        await writer.drain()
        size = int.from_bytes(await reader.readexactly(_LENGTH_BYTES))
        return await reader.readexactly(size)
    finally:
        writer.close()
