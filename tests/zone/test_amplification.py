"""How much larger answers are than questions, as the page says, and that nothing large escapes the rate limit."""

from __future__ import annotations

import pytest

from otscert.zones import wire
from otscert.zones.cookies import Cookies
from otscert.zones.front import Front
from otscert.zones.rate import RateLimit
from otscert.zones.zone import Zone
from tests.zone.amplification import KINDS, PAGE, Kind, page, query
from tests.zone.served import example_zone

CLIENT = "192.0.2.99"
PER_S = 50


def front(zone: Zone) -> Front:
    return Front(
        zone.responder, zone.counters, Cookies(bytes(16)), limit=RateLimit(PER_S), clock=lambda: 1_800_000_000.0
    )


def test_the_page_says_how_large_answers_are() -> None:
    assert PAGE.read_text(encoding="ascii") == page(), "run: python -m tests.zone.amplification"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.says)
@pytest.mark.parametrize("edns", [False, True])
def test_what_a_forged_address_receives_in_a_second_is_bounded(kind: Kind, edns: bool) -> None:  # noqa: FBT001
    asked = query(kind, edns=edns)
    server = front(example_zone())
    answers = [server.datagram(asked, CLIENT) for _ in range(10 * PER_S)]
    whole = [answer for answer in answers if answer is not None and not answer[2] & wire.TC_BIT]
    large = [answer for answer in whole if len(answer) > 3 * len(asked)]
    assert len(whole) <= PER_S
    assert len(large) <= PER_S // 10 + 1
    # Beyond the limit nothing is larger than its question and an OPT: it is the question with TC.
    beyond = answers[PER_S:]
    assert all(answer is not None and answer[2] & wire.TC_BIT and len(answer) <= len(asked) for answer in beyond)


def test_a_cookie_lifts_the_limit() -> None:
    server = front(example_zone())
    asked = query(KINDS[0], edns=True)

    def with_cookie(cookie: bytes) -> bytes:
        option = b"\0\x0a" + len(cookie).to_bytes(2) + cookie
        return asked[:-2] + len(option).to_bytes(2) + option

    first = server.datagram(with_cookie(b"12345678"), CLIENT)
    assert first is not None
    shown = with_cookie(first[-24:])
    answers = [server.datagram(shown, CLIENT) for _ in range(10 * PER_S)]
    assert all(answer is not None and not answer[2] & wire.TC_BIT for answer in answers)
