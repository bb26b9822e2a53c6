"""What strangers can send to, as functions of octets that raise when something that must hold does not.

Each is fed by mutated packets in `make test` and by atheris in `make fuzz`. The clock stands still.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator

import dns.edns
import dns.message

from otscert.zones import tcp, wire
from otscert.zones.cookies import Cookies
from otscert.zones.errors import MalformedMessageError
from otscert.zones.front import Front
from otscert.zones.rate import RateLimit
from otscert.zones.transfer import Transfers
from otscert.zones.tsig import Keys, Signer, TsigKey, made
from otscert.zones.zone import Zone
from tests.zone.served import ORIGIN, example_zone
from tests.zone.tcp_stream import cut, judge_stream

NOW_S = 1_800_000_000
CLIENT = "192.0.2.99"
_KEY = TsigKey(name="secondary", algorithm="hmac-sha256", secret=b"a secret of thirty-two octets !!")
Target = Callable[[bytes], None]


class WrongAnswerError(AssertionError):
    """An answer is larger than allowed, or does not belong to its question."""


def most_octets(packet: bytes) -> int:
    """The most that any reading of a datagram allows: 512 without an OPT anywhere in it."""
    return wire.EDNS_UDP_BYTES if b"\0\0\x29" in packet else wire.UDP_LIMIT_BYTES


def judge(packet: bytes, answer: bytes | None) -> None:
    """What must hold for the answer to any datagram."""
    if answer is None:
        return
    if answer[:2] != packet[:2] or not answer[2] & wire.QR_BIT or len(answer) > most_octets(packet):
        raise WrongAnswerError(f"{packet.hex()} -> {answer.hex()}")


def _front(zone: Zone, cookies: Cookies) -> Front:
    signed = Transfers(
        zone,
        Keys([_KEY]),
        answer=zone.responder.answer,
        now_s=lambda: NOW_S,
    )
    return Front(
        zone.responder, zone.counters, cookies, limit=RateLimit(1 << 30), signed=signed, clock=lambda: float(NOW_S)
    )


def stream_front() -> tcp.Answer:
    """What answers the messages of a TCP stream."""
    return _front(example_zone(), Cookies(bytes(16))).message


def targets(zone: Zone | None = None) -> dict[str, Target]:
    """Every target by its name, on one zone."""
    zone = zone or example_zone()
    cookies = Cookies(bytes(16))
    front = _front(zone, cookies)

    def responder(packet: bytes) -> None:
        judge(packet, zone.answer(packet, size_limit=wire.EDNS_UDP_BYTES))

    def whole_front(packet: bytes) -> None:
        judge(packet, front.datagram(packet, CLIENT))
        front.message(packet, CLIENT)  # a transfer is made when it is read: nobody reads it here

    def cookie(packet: bytes) -> None:
        if 8 <= len(packet) <= 40:
            judged = cookies.judge(packet, CLIENT, NOW_S)
            if judged.cookie[:8] != packet[:8] or len(judged.cookie) != wire.COOKIE_BYTES:
                raise WrongAnswerError(packet.hex())

    def edns(packet: bytes) -> None:
        if len(packet) >= wire.HEADER_BYTES:
            try:
                wire.parse_edns(packet, wire.parse_question(packet))
            except MalformedMessageError:
                return

    def stream(packet: bytes) -> None:
        # The first octets say how the rest is cut, and when the client goes.
        gone_after = None if len(packet) < 4 or packet[3] < 128 else packet[3] - 128
        asyncio.run(judge_stream(front.message, cut(packet[4:], packet[:3]), gone_after=gone_after))

    return {"responder": responder, "front": whole_front, "cookie": cookie, "edns": edns, "stream": stream}


def seeds() -> list[bytes]:
    """Good messages to be spoiled: plain, with EDNS and cookies, signed, and for transfers; the last two are those."""
    found = []
    for name, rtype in (("both", "A"), ("_acme-challenge.huge", "TXT"), ("unknown", "A"), ("fresh", "AAAA")):
        query = dns.message.make_query(f"{name}.{ORIGIN}", rtype, use_edns=-1)
        found.append(query.to_wire())
        query.use_edns(0, payload=4096, options=[dns.edns.GenericOption(dns.edns.OptionType.COOKIE, b"12345678")])
        found.append(query.to_wire())
        query.use_edns(0, payload=512, options=[dns.edns.GenericOption(dns.edns.OptionType.COOKIE, bytes(24))])
        found.append(query.to_wire())
        found.append(_signed(query.to_wire()))
    return [*found, *(_signed(dns.message.make_query(ORIGIN, rtype).to_wire()) for rtype in ("SOA", "AXFR"))]


def _signed(query: bytes) -> bytes:
    return Signer(made(_KEY), b"").sign(query, now_s=NOW_S)


def mutated(number: int, *, seed: int) -> Iterator[bytes]:
    """Yield packets that are nearly good: a few octets changed, cut, or doubled."""
    dice = random.Random(seed)
    good = seeds()
    for _ in range(number):
        packet = bytearray(dice.choice(good))
        for _ in range(dice.choice((1, 1, 2, 4))):
            packet[int(dice.random() * len(packet))] = int(dice.random() * 256)
        if dice.random() < 0.2:
            del packet[int(dice.random() * len(packet)) :]
        elif dice.random() < 0.1:
            packet += packet[int(dice.random() * len(packet)) :]
        yield bytes(packet)
