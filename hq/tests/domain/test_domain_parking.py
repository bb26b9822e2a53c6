from __future__ import annotations

import pytest

from otscert.domain.budget import Bucket, Level
from otscert.domain.limits import DAY_S, HOUR_S, WEEK_S, LimitKind
from otscert.domain.parking import park
from otscert.domain.quota import Quota

NOW_S = 1_800_000_000
ORDERS, NAMES = LimitKind.ORDERS_PER_ACCOUNT, LimitKind.CERTIFICATES_PER_NAMES


def parked_for(kind: LimitKind, retry_after_s: float | None, *, quota: Quota | None = None) -> int:
    level = park(
        Bucket(issuer="ca", kind=kind, subject=""),
        Level(tat_ms=None),
        quota,
        retry_after_s=retry_after_s,
        now_s=NOW_S,
        reason="too many",
    )
    return level.parked_until_s - NOW_S


@pytest.mark.parametrize(
    ("kind", "retry_after_s", "wait_s"),
    [
        (ORDERS, 30.0, 31),
        (ORDERS, 3 * HOUR_S, 3 * HOUR_S + 1),
        (ORDERS, 6 * DAY_S, DAY_S),  # no answer stops an issuer's orders for days
        (ORDERS, 1e12, DAY_S),
        (NAMES, 6 * DAY_S, 6 * DAY_S + 1),  # one box's limit may well take so long
        (NAMES, 1e12, DAY_S),
        (NAMES, WEEK_S, DAY_S),
    ],
)
def test_a_park_lasts_as_the_ca_says_and_never_for_ever(kind: LimitKind, retry_after_s: float, wait_s: int) -> None:
    assert parked_for(kind, retry_after_s) == wait_s


@pytest.mark.parametrize(
    ("quota", "wait_s"),
    [
        (None, 900),
        (Quota(count=300, period_s=3 * HOUR_S), 60),
        (Quota(count=50, period_s=WEEK_S), HOUR_S),
    ],
)
def test_a_ca_that_does_not_say_is_asked_again_as_its_limit_refills(quota: Quota | None, wait_s: int) -> None:
    assert parked_for(ORDERS, None, quota=quota) == wait_s
