from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otscert.acme import retry_after

NOW = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)
WEEK_S = 7 * 24 * 3600.0


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("0", 0.0),
        ("3", 3.0),
        (" 120 ", 120.0),
        ("0000000000000000003", 3.0),
        ("Mon, 23 Nov 2026 12:00:03 GMT", 3.0),
        ("Monday, 23-Nov-26 12:00:03 GMT", 3.0),  # RFC 850
        ("Mon Nov 23 12:00:03 2026", 3.0),  # asctime
        ("Mon, 23 Nov 2026 13:00:03 +0100", 3.0),
        ("Mon, 23 Nov 2026 11:00:00 GMT", 0.0),  # over already
        ("1000000000000", WEEK_S),
        ("9" * 5000, WEEK_S),
        ("Fri, 31 Dec 9999 23:59:59 GMT", WEEK_S),
        ("tomorrow", None),
        ("-1", None),
        ("1.5", None),
        ("3s", None),
        ("", None),
        ("\u0663", None),  # a digit, but not an ASCII one
        ("Mon, 23 Nov 99999 12:00:03 GMT", None),
        ("Mon, 99 Foo 2026 12:00:03 GMT", None),
        (None, None),
    ],
)
def test_both_forms_are_read_and_what_is_neither_is_no_header(header: str | None, seconds: float | None) -> None:
    assert retry_after.parse(header, NOW) == seconds


@given(st.text())
def test_any_text_gives_nothing_or_up_to_a_week(header: str) -> None:
    seconds = retry_after.parse(header, NOW)
    assert seconds is None or 0.0 <= seconds <= WEEK_S
