from __future__ import annotations

import pytest

from otscert.cli import show


@pytest.mark.parametrize(
    ("length_s", "shown"),
    [
        (21_600, "6 hours"),
        (3600, "1 hour"),
        (5400, "90 min"),
        (60, "1 min"),
        (90, "90 s"),
        (86_400, "1 day"),
        (172_800, "2 days"),
        (90_000, "25 hours"),
        (0, "0 s"),
    ],
)
def test_a_span_is_shown_in_its_largest_unit_that_holds_it_whole(length_s: int, shown: str) -> None:
    assert show.span(length_s) == shown
