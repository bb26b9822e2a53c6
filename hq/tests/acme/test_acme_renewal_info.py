"""RenewalInfo objects as CAs send them, and as nobody should."""

from __future__ import annotations

import json
from typing import Any

import pytest

from otscert.acme.members import json_object
from otscert.acme.renewal_info import RenewalInfo, renewal_info_url

START, END = "2026-01-02T04:00:00Z", "2026-01-03T04:00:00Z"
START_S, END_S = 1_767_326_400, 1_767_412_800


def parse(**members: Any) -> RenewalInfo | None:
    document = json_object(json.dumps(members).encode())
    assert document is not None
    return RenewalInfo.parse(document)


def window(start: Any = START, end: Any = END) -> dict[str, Any]:
    return {"start": start, "end": end}


@pytest.mark.parametrize(
    "said",
    [
        window(),
        window("2026-01-02T04:00:00.123456789Z", "2026-01-03T05:00:00+01:00"),
        {**window(), "middle": 5},
    ],
)
def test_a_window_is_read(said: dict[str, Any]) -> None:
    assert parse(suggestedWindow=said, more="members") == RenewalInfo(start_s=START_S, end_s=END_S)


@pytest.mark.parametrize(
    "said",
    [
        None,
        [],
        "2026",
        {},
        window(end=None),
        window(start=5),
        window(end="tomorrow"),
        window(END, START),
        window(START, START),
        window(START, "2026-01-02T04:00:00.9Z"),
        window("10000-01-01T00:00:00Z"),
        window(["2026"]),
        window("0001-01-01T00:00:00+23:59"),
    ],
)
def test_what_is_no_window_is_none(said: Any) -> None:
    assert parse(suggestedWindow=said) is None


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://ca.example/incident?id=5", True),
        ("http://ca.example/", True),
        (5, False),
        ("", False),
        ("javascript:alert(1)", False),
        ("file:///etc/passwd", False),
        ("https://", False),
        ("https://ca.example/\x1b[31mred", False),
        ("https://ca.example/a b", False),
        ("https://ca.example/\u202eevil", False),
        ("https://[", False),
        ("https://ca.example/" + "x" * 500, False),
    ],
)
def test_an_explanation_is_a_page_that_is_safe_to_show(url: Any, *, kept: bool) -> None:
    info = parse(suggestedWindow=window(), explanationURL=url)
    assert info is not None
    assert info.explanation_url == (url if kept else None)


def test_where_to_ask() -> None:
    assert renewal_info_url("https://ca.example/ari", "a.b") == "https://ca.example/ari/a.b"
    assert renewal_info_url("https://ca.example/ari/", "a.b") == "https://ca.example/ari/a.b"
