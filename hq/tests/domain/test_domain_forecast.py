"""How long an incident takes: hearing of it, the limits of one CA and of another, its requests per second."""

from __future__ import annotations

import pytest

from otscert.domain.budget import Bucket, Level
from otscert.domain.forecast import Share, foretell
from otscert.domain.limits import LETS_ENCRYPT, LETS_ENCRYPT_STAGING, NONE_KNOWN, ZEROSSL, LimitKind

DAY_S = 86_400
LIMITS = {"le": LETS_ENCRYPT, "staging": LETS_ENCRYPT_STAGING, "zero": ZEROSSL, "own": NONE_KNOWN}
HOURS_S = 21_600
ORDERS = Bucket(issuer="le", kind=LimitKind.ORDERS_PER_ACCOUNT, subject="")


@pytest.mark.parametrize(
    ("shares", "domain", "least_s", "most_s", "words"),
    [
        ((), None, 0, 0, "nothing"),
        ((Share(before="le", issuer="le", count=0),), None, 0, 0, "nothing"),
        # renewals of the same names cost nothing of what boxes share
        ((Share(before="le", issuer="le", count=500_000),), "example.com", HOURS_S, HOURS_S, "within 6 hours"),
        # but 41 of them per second is what the CA takes
        ((Share(before="le", issuer="le", count=1_000_000),), "example.com", 28_000, 28_000, "250 requests"),
        # another CA counts each of them: 50 a week below one registered domain
        ((Share(before="zero", issuer="le", count=100),), "example.com", 7 * DAY_S, 8 * DAY_S, "per-domain"),
        # each box has a registered domain of its own: 300 orders in three hours
        ((Share(before="zero", issuer="le", count=2400),), None, 20 * 3600, 24 * 3600, "orders-per-account"),
        ((Share(before="le", issuer="zero", count=100_000),), None, 100_000, 100_000, "7 requests"),
        ((Share(before="le", issuer="own", count=10**6),), None, HOURS_S, HOURS_S, "within 6 hours"),
        ((Share(before="le", issuer="unknown", count=10**6),), None, HOURS_S, HOURS_S, "within 6 hours"),
        (
            (Share(before="le", issuer="le", count=10), Share(before="zero", issuer="le", count=2400)),
            None,
            20 * 3600,
            24 * 3600,
            "2,400 of them",
        ),
    ],
)
def test_what_takes_longest(
    shares: tuple[Share, ...], domain: str | None, least_s: int, most_s: int, words: str
) -> None:
    said = foretell(shares, limits=LIMITS, levels={}, shared_domain=domain, call_within_s=HOURS_S, now_ms=10**12)
    assert least_s <= said.seconds <= most_s, said
    assert words in said.reason


def test_what_is_used_up_or_parked_already_takes_longer() -> None:
    share = (Share(before="zero", issuer="le", count=1000),)

    def seconds(level: Level | None) -> int:
        levels = {} if level is None else {ORDERS: level}
        return foretell(
            share, limits=LIMITS, levels=levels, shared_domain=None, call_within_s=60, now_ms=10**12
        ).seconds

    fresh = seconds(None)
    empty = seconds(Level(tat_ms=10**12 + 10_800_000))
    parked = seconds(Level(tat_ms=10**12 + 10_800_000, parked_until_s=10**9 + 3600))
    assert fresh < empty < parked
    assert empty - fresh == pytest.approx(10_800, abs=400)
    assert parked - empty == 3600
