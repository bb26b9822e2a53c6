"""What an order draws from, who goes first, and what a refusal says."""

from __future__ import annotations

import pytest

from otscert.domain.budget import (
    BEHIND_MS,
    Bucket,
    Charge,
    Exemption,
    Level,
    Rank,
    available,
    careful,
    decide,
    draws,
    guards,
)
from otscert.domain.limits import LETS_ENCRYPT, NONE_KNOWN, LimitKind, Limits
from otscert.domain.quota import Quota

NOW_MS = 1_800_000_000_000
NOW_S = NOW_MS // 1000
NAMES = ("box.boxes.example.com", "*.box.boxes.example.com")
ACCOUNT = Bucket(issuer="le", kind=LimitKind.ORDERS_PER_ACCOUNT, subject="")
DOMAIN = Bucket(issuer="le", kind=LimitKind.CERTIFICATES_PER_DOMAIN, subject="example.com")
SET = Bucket(issuer="le", kind=LimitKind.CERTIFICATES_PER_NAMES, subject=",".join(sorted(NAMES)))
FAILURES = Bucket(issuer="le", kind=LimitKind.FAILURES_PER_NAME, subject=NAMES[0])


def charge(
    rank: Rank = Rank.FIRST_BOOT, exemption: Exemption = Exemption.NONE, names: tuple[str, ...] = NAMES
) -> Charge:
    return Charge(issuer="le", names=names, registered_domains=("example.com",), rank=rank, exemption=exemption)


def used(kind: LimitKind, left: int) -> Level:
    """A bucket of Let's Encrypt's of which HQ may spend `left` more."""
    quota = careful(kind, LETS_ENCRYPT.by_kind[kind])
    return Level(tat_ms=NOW_MS + (quota.count - left) * quota.interval_ms)


@pytest.mark.parametrize(
    ("exemption", "limits", "buckets"),
    [
        (Exemption.NONE, LETS_ENCRYPT, {ACCOUNT, DOMAIN, SET}),
        (Exemption.SAME_NAMES, LETS_ENCRYPT, {SET}),
        (Exemption.ARI_WINDOW, LETS_ENCRYPT, set()),
        (Exemption.NONE, NONE_KNOWN, set()),
    ],
)
def test_an_order_draws_from_what_its_ca_counts(exemption: Exemption, limits: Limits, buckets: set[Bucket]) -> None:
    assert {bucket for bucket, _ in draws(charge(exemption=exemption), limits)} == buckets


def test_a_ca_that_exempts_nothing_counts_renewals_like_the_first_order() -> None:
    strict = Limits(
        name="strict",
        by_kind=LETS_ENCRYPT.by_kind,
        per_second={},
        renewals_exempt=False,
        same_names_exempt=False,
    )
    for exemption in Exemption:
        assert {bucket for bucket, _ in draws(charge(exemption=exemption), strict)} == {ACCOUNT, DOMAIN, SET}


@pytest.mark.parametrize(
    ("kind", "theirs", "ours"),
    [
        (LimitKind.ORDERS_PER_ACCOUNT, Quota(count=300, period_s=10_800), Quota(count=299, period_s=10_764)),
        (LimitKind.ORDERS_PER_ACCOUNT, Quota(count=10, period_s=10_800), Quota(count=9, period_s=9_720)),
        (LimitKind.ORDERS_PER_ACCOUNT, Quota(count=1, period_s=3_600), Quota(count=1, period_s=3_600)),
        (LimitKind.CERTIFICATES_PER_NAMES, Quota(count=5, period_s=604_800), Quota(count=4, period_s=604_800)),
        (LimitKind.FAILURES_PER_NAME, Quota(count=5, period_s=3_600), Quota(count=3, period_s=3_600)),
    ],
)
def test_hq_spends_a_little_less_than_the_ca_allows(kind: LimitKind, theirs: Quota, ours: Quota) -> None:
    assert careful(kind, theirs) == ours


def test_what_is_kept_back_covers_the_way_to_the_ca_at_any_size() -> None:
    for count in (300, 1_000, 100_000, 1_000_000):
        theirs = Quota(count=count, period_s=604_800)
        ours = careful(LimitKind.ORDERS_PER_ACCOUNT, theirs)
        assert (theirs.count - ours.count) * theirs.interval_ms >= BEHIND_MS
        assert ours.interval_ms >= theirs.interval_ms


def test_all_buckets_are_drawn_from_at_once_or_none_is() -> None:
    allowed = decide(charge(), LETS_ENCRYPT, {}, NOW_MS)
    refused = decide(charge(), LETS_ENCRYPT, {DOMAIN: used(LimitKind.CERTIFICATES_PER_DOMAIN, 0)}, NOW_MS)

    assert allowed.allowed
    assert set(allowed.levels_after) == {ACCOUNT, DOMAIN, SET}
    assert allowed.levels_after[ACCOUNT] == NOW_MS + 36_000
    assert not refused.allowed
    assert not refused.levels_after
    assert refused.waits_for == DOMAIN
    assert "50 new certificates below example.com in 7 days" in refused.reason
    assert 0 < refused.retry_after_s <= 12_096


def test_of_several_refusals_the_longest_is_waited_for() -> None:
    levels = {
        ACCOUNT: used(LimitKind.ORDERS_PER_ACCOUNT, 0),
        SET: used(LimitKind.CERTIFICATES_PER_NAMES, 0),
    }
    assert decide(charge(), LETS_ENCRYPT, levels, NOW_MS).waits_for == SET
    assert decide(charge(names=()), LETS_ENCRYPT, levels, NOW_MS).waits_for == ACCOUNT


@pytest.mark.parametrize(
    ("rank", "goes"),
    [
        (Rank.FIRST_BOOT, True),
        (Rank.EXPIRING, True),
        (Rank.INCIDENT, True),
        (Rank.STRANGER, False),
        (Rank.ROUTINE, False),
    ],
)
def test_the_last_tenth_of_a_shared_bucket_is_for_the_high_ranks(rank: Rank, goes: bool) -> None:  # noqa: FBT001
    levels = {ACCOUNT: used(LimitKind.ORDERS_PER_ACCOUNT, 29)}

    assert decide(charge(rank), LETS_ENCRYPT, levels, NOW_MS).allowed is goes
    quota = careful(LimitKind.ORDERS_PER_ACCOUNT, LETS_ENCRYPT.by_kind[LimitKind.ORDERS_PER_ACCOUNT])
    assert available(quota, levels[ACCOUNT], NOW_MS, rank) == (29 if goes else 0)


def test_a_low_rank_goes_while_more_than_the_reserve_is_left() -> None:
    levels = {ACCOUNT: used(LimitKind.ORDERS_PER_ACCOUNT, 30)}

    assert decide(charge(Rank.ROUTINE), LETS_ENCRYPT, levels, NOW_MS).allowed
    assert not decide(charge(Rank.ROUTINE), LETS_ENCRYPT, levels, NOW_MS, count=2).allowed


@pytest.mark.parametrize("limits", [LETS_ENCRYPT, NONE_KNOWN])
def test_what_the_ca_parked_waits_even_where_no_limit_is_known(limits: Limits) -> None:
    levels = {ACCOUNT: Level(tat_ms=None, parked_until_s=NOW_S + 900, reason="too many new orders")}

    parked = decide(charge(), limits, levels, NOW_MS)

    assert (parked.allowed, parked.waits_for, parked.retry_after_s) == (False, ACCOUNT, 900)
    assert "too many new orders" in parked.reason
    assert decide(charge(), limits, levels, NOW_MS + 900_000).allowed
    assert decide(charge(exemption=Exemption.ARI_WINDOW), LETS_ENCRYPT, levels, NOW_MS).allowed


def test_a_park_that_a_wrong_clock_wrote_does_not_hold() -> None:
    levels = {ACCOUNT: Level(tat_ms=None, parked_until_s=NOW_S + 300 * 86_400, reason="x")}

    assert decide(charge(), LETS_ENCRYPT, levels, NOW_MS).allowed


def test_failures_are_looked_at_and_not_spent() -> None:
    spent_up = {FAILURES: used(LimitKind.FAILURES_PER_NAME, 0)}

    assert decide(charge(), LETS_ENCRYPT, {FAILURES: used(LimitKind.FAILURES_PER_NAME, 1)}, NOW_MS).allowed
    for exemption in Exemption:
        refused = decide(charge(exemption=exemption), LETS_ENCRYPT, spent_up, NOW_MS)
        assert refused.waits_for == FAILURES
        assert FAILURES not in refused.levels_after
    assert [bucket for bucket, _ in guards(charge(), LETS_ENCRYPT)] == [FAILURES]


@pytest.mark.parametrize("bucket", [ACCOUNT, DOMAIN, SET, FAILURES])
def test_a_buckets_name_is_read_back(bucket: Bucket) -> None:
    assert Bucket.parse(bucket.name) == bucket
    assert bucket.name == bucket.name.strip()


@pytest.mark.parametrize("name", ["", "le", "le nothing", "le nothing x"])
def test_what_names_no_bucket_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Bucket.parse(name)


def test_waiting_as_long_as_told_is_enough() -> None:
    levels: dict[Bucket, Level] = {}
    now_ms = NOW_MS
    for number in range(400):
        asked = Charge(
            issuer="le",
            names=(f"box{number}.example.com",),
            registered_domains=(f"example{number}.com",),
            rank=Rank.FIRST_BOOT,
            exemption=Exemption.NONE,
        )
        decision = decide(asked, LETS_ENCRYPT, levels, now_ms)
        if not decision.allowed:
            now_ms += decision.retry_after_s * 1000
            decision = decide(asked, LETS_ENCRYPT, levels, now_ms)
        assert decision.allowed
        levels.update({bucket: Level(tat_ms=tat_ms) for bucket, tat_ms in decision.levels_after.items()})
    assert now_ms == NOW_MS + 101 * 36_000
