"""DNS cookies (RFC 7873, 9018): what a client that shows one gets back."""

from __future__ import annotations

import os
import subprocess
import time

import pytest

from tests.harness.parts import require_part
from tests.zone.conftest import Ask, Send
from tests.zone.rules import SOCKETS, rule
from tests.zone.served import HOST, ORIGIN, Served
from tests.zone.test_rules_of_messages import FOUR, packet, rcode_of

COOKIE = 10
MINE = b"\1\2\3\4\5\6\7\x08"


def with_option(data: bytes) -> bytes:
    """An OPT record with a COOKIE option."""
    option = COOKIE.to_bytes(2) + len(data).to_bytes(2) + data
    return b"\0\0\x29\x04\xd0\0\0\0\0" + len(option).to_bytes(2) + option


@rule(7873, "5.2.3", "a client's cookie alone is answered, with the server's cookie behind it")
@rule(7873, "4", "the server's cookie has 8 to 32 octets")
def test_a_clients_cookie_is_answered_with_the_servers(ask: Ask) -> None:
    for name, rtype, rcode in (
        ("both", "A", "NOERROR"),
        ("unknown", "A", "NXDOMAIN"),
        ("example.org.", "A", "REFUSED"),
    ):
        reply = ask(name, rtype, edns=0, option=(COOKIE, MINE))
        assert (reply.rcode, reply.cookie[:8], len(reply.cookie)) == (rcode, MINE, 24)


@rule(7873, "5.2.1", "who shows no cookie gets none")
def test_who_shows_no_cookie_gets_none(ask: Ask) -> None:
    assert ask("both", edns=0).cookie == b""


@rule(9018, "4", "the server's cookie is a version, three zero octets, the time in seconds and a hash of 8 octets")
@rule(9018, "7", "a version between 240 and 254 says that the hash is this server's own")
def test_the_servers_cookie_has_its_layout(ask: Ask) -> None:
    cookie = ask("both", edns=0, option=(COOKIE, MINE)).cookie[8:]
    assert 240 <= cookie[0] <= 254
    assert cookie[1:4] == bytes(3)
    assert abs(int.from_bytes(cookie[4:8]) - time.time()) < 60
    assert len(cookie[8:]) == 8


@rule(7873, "5.2.5", "a good cookie comes back as it was shown")
@rule(9018, "4.3", "one younger than half an hour is not made anew")
def test_a_good_cookie_comes_back(ask: Ask) -> None:
    good = ask("both", edns=0, option=(COOKIE, MINE)).cookie
    again = ask("both", edns=0, option=(COOKIE, good))
    assert (again.rcode, again.cookie, len(again.answer)) == ("NOERROR", good, 2)
    assert ask("four", edns=0, option=(COOKIE, good), tcp=True).cookie == good


@rule(7873, "5.2.4", "a bad cookie is answered, with a fresh one")
@pytest.mark.parametrize("other", [bytes(8), bytes(16), b"\xf0" + bytes(15), b"\xf1" * 32], ids=len)
def test_a_bad_cookie_is_answered_with_a_fresh_one(ask: Ask, other: bytes) -> None:
    reply = ask("both", edns=0, option=(COOKIE, MINE + other))
    assert (reply.rcode, len(reply.answer)) == ("NOERROR", 2)
    assert (reply.cookie[:8], len(reply.cookie)) == (MINE, 24)
    assert reply.cookie != MINE + other


@rule(9018, "4.4", "a cookie belongs to its client: with another client's part it is bad")
def test_a_cookie_of_another_client_is_bad(ask: Ask) -> None:
    good = ask("both", edns=0, option=(COOKIE, MINE)).cookie
    reply = ask("both", edns=0, option=(COOKIE, MINE[::-1] + good[8:]))
    assert reply.cookie[:8] == MINE[::-1]
    assert reply.cookie[16:] != good[16:]


@rule(7873, "5.2.2", "a cookie of a length that none has is a format error", asked_with=SOCKETS)
@pytest.mark.parametrize("length", [0, 1, 7, 9, 15, 41, 255])
def test_a_cookie_of_a_wrong_length_is_a_format_error(send: Send, length: int) -> None:
    assert rcode_of(send(packet(FOUR + b"\0\1\0\1" + with_option(bytes(length)), counts=(1, 0, 0, 1)))) == "FORMERR"


@rule(7873, "5.4", "without a question a cookie alone is asked for", asked_with=SOCKETS)
def test_a_cookie_can_be_asked_for_without_a_question(send: Send) -> None:
    answer = send(packet(with_option(MINE), counts=(0, 0, 0, 1)))
    assert answer is not None
    assert rcode_of(answer) == "NOERROR"
    assert answer[4:12] == b"\0\0\0\0\0\0\0\1"
    assert MINE + b"\xf0\0\0\0" in answer
    assert rcode_of(send(packet(with_option(MINE + bytes(16)), counts=(0, 0, 0, 1)))) == "BADCOOKIE"


@rule(7873, "5.3", "dig takes our cookie for its own question's and shows it again", asked_with="dig")
def test_dig_finds_our_cookie_good(served: Served) -> None:
    part = require_part("dig")
    whole = [f"{name}.{ORIGIN}" for name in ("both", "four", "web")]
    line = [str(part.path), f"@{HOST}", "-p", str(served.port), "+cookie", "+norecurse", *whole]
    ended = subprocess.run(line, env={**os.environ, **part.env}, capture_output=True, text=True, check=True, timeout=30)
    assert ended.stdout.count("status: NOERROR") == ended.stdout.count("(good)") == len(whole)
