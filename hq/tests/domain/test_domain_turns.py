"""When the last waiting box is served: the same as letting them go one by one."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from otscert.domain.budget import Level, Rank, available
from otscert.domain.quota import Quota, spend
from otscert.domain.turns import last_turns

NOW_MS = 1_800_000_000_000
HOURLY = Quota(count=10, period_s=36_000)


def one_by_one(quota: Quota, level: Level, waiting: dict[Rank, int]) -> dict[Rank, int]:
    at_ms, turns = NOW_MS, dict[Rank, int]()
    for rank in sorted(waiting):
        for _ in range(waiting[rank]):
            while not available(quota, level, at_ms, rank):
                at_ms += quota.interval_ms
            level = Level(tat_ms=spend(quota, tat_ms=level.tat_ms, now_ms=at_ms).tat_ms)
            turns[rank] = at_ms
    return turns


@settings(max_examples=60)
@given(
    st.builds(Quota, count=st.integers(1, 40), period_s=st.integers(40, 100_000)),
    st.dictionaries(st.sampled_from(Rank), st.integers(1, 60), min_size=1),
)
def test_it_is_as_if_they_went_one_by_one(quota: Quota, waiting: dict[Rank, int]) -> None:
    empty = Level(tat_ms=NOW_MS + quota.interval_ms * quota.count)

    assert last_turns(quota, empty, waiting, now_ms=NOW_MS) == one_by_one(quota, empty, waiting)


def test_a_park_comes_first() -> None:
    parked = Level(tat_ms=NOW_MS + 7_200_000, parked_until_s=NOW_MS // 1000 + 7200)

    turns = last_turns(HOURLY, parked, {Rank.FIRST_BOOT: 11}, now_ms=NOW_MS)
    assert turns == {Rank.FIRST_BOOT: NOW_MS + (2 + 1) * 3_600_000}


def test_ten_million_are_foretold_at_once_and_nearly_exactly() -> None:
    turns = last_turns(HOURLY, Level(tat_ms=None), {Rank.FIRST_BOOT: 10**7, Rank.ROUTINE: 1}, now_ms=NOW_MS)

    assert abs(turns[Rank.FIRST_BOOT] - NOW_MS - (10**7 - 10) * 3_600_000) <= 10 * 3_600_000
    assert turns[Rank.ROUTINE] > turns[Rank.FIRST_BOOT]
