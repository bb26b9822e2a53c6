"""docs/webhook.md says what HQ sends: its Python runs, its tables and numbers are those of the code."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from otscert.domain import webhook
from otscert.domain.admission import Policy
from otscert.notify import https
from otscert.service.webhook import AT_ONCE

TEXT = (Path(__file__).parent.parent / "docs/webhook.md").read_text(encoding="utf-8")
SECRET, BODY = b"a-secret-of-the-webhook", b'{"event":"test"}'


def table(heading: str) -> list[list[str]]:
    section = TEXT.split(f"\n## {heading}\n")[1]
    block = re.search(r"(?:^\|.*\n)+", section, re.MULTILINE)
    assert block, heading
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in block[0].splitlines()[2:]]


@pytest.fixture(scope="module")
def from_hq() -> Callable[..., bool]:
    """The function that the page gives to makers."""
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)  # noqa: S102 - the page is ours
    check: Callable[..., bool] = names["from_hq"]
    return check


def test_the_pages_function_accepts_what_hq_signs(from_hq: Callable[..., bool]) -> None:
    headers = webhook.signed_headers(BODY, key="k", secret=SECRET, now_s=int(time.time()))
    assert from_hq(headers, BODY, SECRET)


def test_the_pages_function_refuses_everything_else(from_hq: Callable[..., bool]) -> None:
    now_s = int(time.time())
    good = webhook.signed_headers(BODY, key="k", secret=SECRET, now_s=now_s)
    assert not from_hq(good, BODY + b" ", SECRET)
    assert not from_hq(good, BODY, SECRET + b" ")
    assert not from_hq({}, BODY, SECRET)
    assert not from_hq(good | {"OTSCert-Timestamp": str(now_s + 1)}, BODY, SECRET)
    assert not from_hq(good | {"OTSCert-Signature": "v1="}, BODY, SECRET)
    assert not from_hq(good | {"OTSCert-Signature": "v1=\u00e4"}, BODY, SECRET)
    old = webhook.signed_headers(BODY, key="k", secret=SECRET, now_s=now_s - 301)
    assert not from_hq(old, BODY, SECRET)


def test_the_page_lists_the_members_of_a_question_in_their_order() -> None:
    listed = [row[0].strip("`") for row in table("What HQ sends")]
    assert listed == [field.name for field in fields(webhook.Question)]
    (policies,) = [row[2] for row in table("What HQ sends") if row[0] == "`policy`"]
    assert set(re.findall(r"`([a-z]+)`", policies)) == set(Policy)


def test_the_page_names_the_headers_and_limits_of_the_code() -> None:
    for words in (
        f"`{webhook.TIMESTAMP}`",
        f"`{webhook.SIGNATURE}`",
        f"`{webhook.KEY}`",
        f"within {https.TOTAL_S:g} seconds, at most {https.MOST_BYTES // 1024} kB",
        f"at most {webhook.MOST_REASON} characters",
        f"Up to {webhook.MOST_TAGS} words",
        f"up to {webhook.LONGEST_BACK_OFF_S // 60} minutes",
        f"at most {AT_ONCE} boxes of a model at a time",
        f"`{webhook.ADMISSION}`, or `{webhook.TEST}`",
    ):
        assert words in TEXT, words
