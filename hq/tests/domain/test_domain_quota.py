from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from otscert.domain.quota import SMALL_STEP_MS, Quota, spend

QUOTAS = st.builds(Quota, count=st.integers(1, 50), period_s=st.integers(1, 100_000))
GAPS_MS = st.lists(st.integers(0, 20_000_000), max_size=120)


def admitted_at(quota: Quota, gaps_ms: list[int]) -> list[int]:
    """When what came after these gaps was let in."""
    now_ms, tat_ms, moments = 0, None, []
    for gap_ms in gaps_ms:
        now_ms += gap_ms
        decision = spend(quota, tat_ms=tat_ms, now_ms=now_ms)
        tat_ms = decision.tat_ms
        if decision.allowed:
            moments.append(now_ms)
    return moments


@given(QUOTAS, GAPS_MS)
def test_no_window_ever_sees_more_than_a_full_bucket_and_its_refill(quota: Quota, gaps_ms: list[int]) -> None:
    moments = admitted_at(quota, gaps_ms)
    for first, start in enumerate(moments):
        for last in range(first, len(moments)):
            width_ms = moments[last] - start
            # count + width * count / period, in whole numbers
            assert (last - first + 1 - quota.count) * quota.period_s * 1000 <= width_ms * quota.count


@given(QUOTAS, GAPS_MS)
def test_it_lets_in_what_a_bucket_of_tokens_would(quota: Quota, gaps_ms: list[int]) -> None:
    full = quota.count * quota.interval_ms  # a token is `interval_ms` units, one unit flows in per ms
    now_ms, level, moments = 0, full, []
    for gap_ms in gaps_ms:
        now_ms += gap_ms
        level = min(full, level + gap_ms)
        if level >= quota.interval_ms:
            level -= quota.interval_ms
            moments.append(now_ms)
    assert admitted_at(quota, gaps_ms) == moments


@given(QUOTAS, GAPS_MS)
def test_waiting_as_long_as_told_is_exactly_enough(quota: Quota, gaps_ms: list[int]) -> None:
    now_ms, tat_ms = 0, None
    for gap_ms in gaps_ms:
        now_ms += gap_ms
        decision = spend(quota, tat_ms=tat_ms, now_ms=now_ms)
        assert 0 <= decision.remaining <= quota.count
        if not decision.allowed:
            wait_ms = decision.retry_after_s * 1000
            assert spend(quota, tat_ms=tat_ms, now_ms=now_ms + wait_ms).allowed
            assert not spend(quota, tat_ms=tat_ms, now_ms=now_ms + wait_ms - 1000).allowed
        else:
            assert decision.retry_after_s == 0
        tat_ms = decision.tat_ms


def test_our_four_a_week_stay_below_lets_encrypts_five() -> None:
    ours, theirs = Quota(count=4, period_s=604_800), Quota(count=5, period_s=604_800)
    moments = admitted_at(ours, [3_600_000] * 2000)
    gaps_ms = [moments[0], *(later - earlier for earlier, later in pairwise(moments))]
    assert admitted_at(theirs, gaps_ms) == moments


@given(QUOTAS, st.integers(0, 10**10))
def test_a_full_bucket_is_spent_at_once_and_no_more(quota: Quota, now_ms: int) -> None:
    tat_ms = None
    for left in reversed(range(quota.count)):
        decision = spend(quota, tat_ms=tat_ms, now_ms=now_ms)
        assert (decision.allowed, decision.remaining) == (True, left)
        tat_ms = decision.tat_ms
    assert not spend(quota, tat_ms=tat_ms, now_ms=now_ms).allowed


def test_nothing_is_allowed_where_the_count_is_zero() -> None:
    decision = spend(Quota(count=0, period_s=60), tat_ms=None, now_ms=5)
    assert (decision.allowed, decision.retry_after_s) == (False, 60)


@given(QUOTAS, st.integers(SMALL_STEP_MS + 1, 10**12))
def test_a_bucket_of_a_wrong_future_is_a_fresh_one(quota: Quota, ahead_ms: int) -> None:
    tat_ms = 10**6 + quota.count * quota.interval_ms + ahead_ms
    assert spend(quota, tat_ms=tat_ms, now_ms=10**6) == spend(quota, tat_ms=None, now_ms=10**6)


@given(QUOTAS, st.integers(0, SMALL_STEP_MS))
def test_a_small_step_back_gives_nobody_a_full_bucket(quota: Quota, back_ms: int) -> None:
    now_ms = 10**10
    tat_ms = now_ms + quota.count * quota.interval_ms  # spent
    assert not spend(quota, tat_ms=tat_ms, now_ms=now_ms - back_ms).allowed


def test_a_bucket_that_does_not_divide_evenly_refills_no_faster_than_it_says() -> None:
    quota = Quota(count=7, period_s=1)
    moments = admitted_at(quota, [1] * 100_000)
    assert len(moments) <= 7 + 7 * 100
