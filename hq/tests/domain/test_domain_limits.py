"""What is known of the CAs, and how a setting says a limit."""

from __future__ import annotations

import pytest

from otscert.domain.limits import (
    LETS_ENCRYPT,
    LETS_ENCRYPT_STAGING,
    NONE_KNOWN,
    ZEROSSL,
    LimitKind,
    Limits,
    LimitTextError,
    limits_for,
    parse_quota,
    quota_text,
)
from otscert.domain.quota import Quota
from otscert.domain.spans import about, in_words


@pytest.mark.parametrize(
    ("url", "limits"),
    [
        ("https://acme-v02.api.letsencrypt.org/directory", LETS_ENCRYPT),
        ("https://ACME-V02.api.LetsEncrypt.org/directory", LETS_ENCRYPT),
        ("https://acme-staging-v02.api.letsencrypt.org/directory", LETS_ENCRYPT_STAGING),
        ("https://acme.zerossl.com/v2/DV90", ZEROSSL),
        ("https://dv.acme-v02.api.pki.goog/directory", NONE_KNOWN),
        ("https://letsencrypt.org.example.net/directory", NONE_KNOWN),
        ("https://127.0.0.1:14000/dir", NONE_KNOWN),
    ],
)
def test_a_ca_is_known_by_the_host_of_its_directory(url: str, limits: Limits) -> None:
    assert limits_for(url) is limits


def test_lets_encrypts_limits_refill_as_its_page_says() -> None:
    refill_s = {kind: quota.period_s / quota.count for kind, quota in LETS_ENCRYPT.by_kind.items()}

    assert refill_s[LimitKind.ORDERS_PER_ACCOUNT] == 36
    assert round(refill_s[LimitKind.CERTIFICATES_PER_DOMAIN] / 60) == 202
    assert round(refill_s[LimitKind.CERTIFICATES_PER_NAMES] / 3600) == 34
    assert refill_s[LimitKind.FAILURES_PER_NAME] == 12 * 60


@pytest.mark.parametrize(
    ("text", "quota"),
    [
        ("300/3h", Quota(count=300, period_s=10_800)),
        (" 1000 / 7d ", Quota(count=1000, period_s=604_800)),
        ("1000/w", Quota(count=1000, period_s=604_800)),
        ("5/90s", Quota(count=5, period_s=90)),
        ("5/90m", Quota(count=5, period_s=5400)),
        ("none", None),
    ],
)
def test_a_setting_says_a_limit_in_one_text(text: str, quota: Quota | None) -> None:
    assert parse_quota(text) == quota
    if quota is not None:
        assert parse_quota(quota_text(quota)) == quota


@pytest.mark.parametrize("text", ["", "300", "0/3h", "-1/3h", "300/3", "300/0h", "1e9/3h", "300/3y", "5/9999d", "no"])
def test_anything_else_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(LimitTextError, match=r"300/3h|between"):
        parse_quota(text)


def test_an_override_replaces_one_limit_and_none_takes_it_away() -> None:
    adjusted = LETS_ENCRYPT.with_quotas(
        {LimitKind.CERTIFICATES_PER_DOMAIN: Quota(count=300, period_s=604_800), LimitKind.FAILURES_PER_NAME: None}
    )

    assert adjusted.by_kind[LimitKind.CERTIFICATES_PER_DOMAIN].count == 300
    assert LimitKind.FAILURES_PER_NAME not in adjusted.by_kind
    assert adjusted.by_kind[LimitKind.ORDERS_PER_ACCOUNT] == LETS_ENCRYPT.by_kind[LimitKind.ORDERS_PER_ACCOUNT]


@pytest.mark.parametrize(
    ("span_s", "exact", "estimate"),
    [
        (1, "1 second", "about 1 second"),
        (90, "90 seconds", "about 90 seconds"),
        (3600, "1 hour", "about 60 minutes"),
        (10_800, "3 hours", "about 3 hours"),
        (11_000, "11,000 seconds", "about 3 hours"),
        (604_800, "7 days", "about 7 days"),
    ],
)
def test_a_span_is_said_in_words(span_s: int, exact: str, estimate: str) -> None:
    assert in_words(span_s) == exact
    assert about(span_s) == estimate
