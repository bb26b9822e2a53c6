"""What is signed and is no plain question: odd messages, odd keys, and more transfers than a key may have."""

from __future__ import annotations

import struct
from collections.abc import AsyncGenerator

import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.tsig
import dns.update
import pytest

from otscert.zones.notify import Notifier, Told
from otscert.zones.transfer import MOST_PER_KEY, Transfers
from otscert.zones.tsig import Keys, Signer, TsigKey, made
from otscert.zones.zone import Zone

ORIGIN = "boxes.example.com"
KEY = TsigKey(name="otscert", algorithm="hmac-sha256", secret=b"secret of thirty-two octets, ok!")
NOW_S = 1_800_000_000
WHOLE_MAC = 32


@pytest.fixture
def transfers(zone: Zone) -> Transfers:
    return Transfers(zone, Keys([KEY]), answer=zone.answer, now_s=lambda: NOW_S)


def signed(message: bytes, key: TsigKey = KEY) -> tuple[bytes, Signer]:
    signer = Signer(made(key), b"")
    return signer.sign(message, now_s=NOW_S), signer


def one(answer: bytes | AsyncGenerator[bytes, None] | None) -> bytes:
    assert isinstance(answer, bytes)
    return answer


def axfr() -> bytes:
    return dns.message.make_query(ORIGIN, "AXFR", id=7).to_wire()


@pytest.mark.parametrize("octets", [0, 1, 10, 16, WHOLE_MAC - 1])
def test_a_mac_that_is_cut_short_is_refused(transfers: Transfers, octets: int) -> None:
    whole, _ = signed(axfr())
    # After the MAC come its id, error and the length of other data: six octets (RFC 8945 4.2).
    at = len(whole) - 6 - WHOLE_MAC
    start = whole.rindex(b"\x00\xfa\x00\xff\x00\x00\x00\x00") + 8
    size = int.from_bytes(whole[start : start + 2]) - WHOLE_MAC + octets
    cut = whole[:start] + struct.pack("!H", size) + whole[start + 2 : at - 2] + struct.pack("!H", octets)
    answer = one(transfers(cut + whole[at : at + octets] + whole[-6:], "192.0.2.1", None))
    parsed = dns.message.from_wire(answer, keyring=False)
    assert (parsed.rcode(), parsed.tsig_error) == (dns.rcode.NOTAUTH, dns.rcode.BADTRUNC)


@pytest.mark.parametrize("key", [KEY, TsigKey(name="stranger", algorithm=KEY.algorithm, secret=bytes(32))])
def test_answers_are_not_answered(transfers: Transfers, key: TsigKey) -> None:
    octets, _ = signed(axfr()[:2] + b"\x80" + axfr()[3:], key)
    assert transfers(octets, "192.0.2.1", None) is None


@pytest.mark.parametrize("rtype", ["SOA", "AXFR", "IXFR"])
@pytest.mark.parametrize("size_limit", [None, 1232])
@pytest.mark.parametrize("opcode", [dns.opcode.NOTIFY, dns.opcode.UPDATE, dns.opcode.IQUERY, dns.opcode.STATUS])
def test_signed_messages_other_than_questions_are_refused_and_signed(
    zone: Zone, transfers: Transfers, opcode: dns.opcode.Opcode, size_limit: int | None, rtype: str
) -> None:
    serial = zone.serial
    message: dns.message.Message = dns.message.make_query(ORIGIN, rtype)
    if opcode is dns.opcode.UPDATE:
        update = dns.update.UpdateMessage(ORIGIN)
        update.add("four", 60, "A", "192.0.2.66")
        message = update
    message.set_opcode(opcode)
    octets, signer = signed(message.to_wire())
    answer = signer.accept(one(transfers(octets, "192.0.2.1", size_limit)), now_s=NOW_S)
    assert dns.rcode.Rcode(answer[3] & 15) in (dns.rcode.NOTIMP, dns.rcode.REFUSED)
    assert zone.serial == serial


@pytest.mark.parametrize(
    "garbage",
    [
        bytes(12),
        axfr()[:12],
        axfr()[:-3],
        axfr()[:4] + b"\x00\x02" + axfr()[6:],
        axfr() + b"\xff" * 40,
        axfr()[:8] + b"\x00\x09" + axfr()[10:],
    ],
)
def test_signed_garbage_gets_an_error_or_nothing(transfers: Transfers, garbage: bytes) -> None:
    octets, _ = signed(garbage)
    answer = transfers(octets, "192.0.2.1", None)
    if answer is not None:
        assert one(answer)[3] & 15 in (dns.rcode.FORMERR, dns.rcode.NOTAUTH)


async def test_a_key_is_the_same_in_capital_letters(transfers: Transfers) -> None:
    octets, signer = signed(axfr(), TsigKey(name="OTScert", algorithm=KEY.algorithm, secret=KEY.secret))
    many = transfers(octets, "192.0.2.1", None)
    assert isinstance(many, AsyncGenerator)
    (message,) = [each async for each in many]
    assert dns.message.from_wire(signer.accept(message, now_s=NOW_S)).rcode() == dns.rcode.NOERROR


async def test_more_transfers_than_a_key_may_have_are_told_to_come_again(transfers: Transfers) -> None:
    octets, _ = signed(axfr())

    def begin() -> AsyncGenerator[bytes, None]:
        many = transfers(octets, "192.0.2.1", None)
        assert isinstance(many, AsyncGenerator)
        return many

    begin()  # never asked for a message, as by a client that is gone: it takes no place
    running = [begin() for _ in range(MOST_PER_KEY)]
    for each in running:
        assert await anext(each)
    later = [message async for message in begin()]
    assert [message[3] & 15 for message in later] == [dns.rcode.SERVFAIL]
    await running.pop().aclose()
    again = [message async for message in begin()]
    assert [message[3] & 15 for message in again] == [dns.rcode.NOERROR]
    for each in running:
        await each.aclose()


def test_how_far_a_secondary_is_behind_begins_with_the_first_change_it_did_not_take(zone: Zone) -> None:
    now = [NOW_S]
    told = Told(secondary="fra", server=("2001:db8::1", 53), key=KEY)
    notifier = Notifier(zone, [told], now_s=lambda: now[0])
    now[0] += 400
    zone.put_txt("four", "one")
    (standing,) = notifier.standings()
    assert (standing.server, standing.acknowledged, standing.behind_s) == ("[2001:db8::1]:53", None, 400)
    told.acknowledged, told.behind_since_s = zone.serial, None
    assert notifier.standings()[0].behind_s == 0
    zone.put_txt("four", "two")
    now[0] += 7
    assert notifier.standings()[0].behind_s == 7
