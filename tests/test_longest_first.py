"""Long tests begin first, one at the beginning of each worker's stretch, and no test is lost."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.harness.longest_first import SECONDS, seconds, spread


@pytest.mark.parametrize("workers", [2, 4, 7])
def test_long_tests_begin_the_stretches_and_none_is_lost(request: pytest.FixtureRequest, workers: int) -> None:
    short = [pytest.Function.from_parent(request.node.parent, name=f"f{n}", callobj=seconds) for n in range(103)]
    long = [pytest.Function.from_parent(request.node.parent, name=name, callobj=seconds) for name in SECONDS]
    placed = spread([*short[:50], *long, *short[50:]], workers)
    assert Counter(placed) == Counter([*short, *long])
    assert [item for item in placed if item in short] == short
    rest, stretches = placed, []
    for left in range(workers, 0, -1):
        size = len(rest) // left
        stretches.append(rest[:size])
        rest = rest[size:]
    counts = [sum(map(bool, map(seconds, stretch))) for stretch in stretches]
    assert min(counts) >= 1
    assert all(all(map(seconds, stretch[:count])) for stretch, count in zip(stretches, counts, strict=True))
