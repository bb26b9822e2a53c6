"""What CAs allow, as data: which limits there are, what each counts, and what is known of each CA.

Sources: letsencrypt.org/docs/rate-limits (August 2026) and Boulder's code. A limit that is not listed is not known to
exist; a 429 of the CA then parks what it names (`domain.budget`). What a CA keeps for one maker alone, such as an
adjusted limit, comes from the settings as a text (`parse_quota`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from urllib.parse import urlsplit

from otscert.domain.errors import DomainError
from otscert.domain.quota import Quota

HOUR_S = 3600
DAY_S = 24 * HOUR_S
WEEK_S = 7 * DAY_S
_UNITS_S = {"s": 1, "m": 60, "h": HOUR_S, "d": DAY_S, "w": WEEK_S}
_QUOTA_TEXT = re.compile(r"([1-9][0-9]{0,8})\s*/\s*([0-9]{0,6})\s*([smhdw])")
_LONGEST_S = 366 * DAY_S


class LimitKind(StrEnum):
    """What a limit counts; the value is its name in buckets, settings and output."""

    ORDERS_PER_ACCOUNT = "orders-per-account"
    CERTIFICATES_PER_DOMAIN = "certificates-per-domain"
    CERTIFICATES_PER_NAMES = "certificates-per-names"
    FAILURES_PER_NAME = "failures-per-name"


@dataclass(frozen=True, slots=True, kw_only=True)
class PerSecond:
    """A limit of the load balancer for one source address: requests per second, and how many may come at once."""

    rate: float
    burst: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """One CA's limits. `per_second` is keyed by the directory's member ("newNonce", ...), "" for everything else."""

    name: str
    by_kind: Mapping[LimitKind, Quota]
    per_second: Mapping[str, PerSecond]
    renewals_exempt: bool
    """Whether a replacement inside the window that the CA suggested costs nothing (RFC 9773)."""
    same_names_exempt: bool
    """Whether an order for names that had a certificate before costs only from the limit on these names."""

    def with_quotas(self, changes: Mapping[LimitKind, Quota | None]) -> Limits:
        """These limits with some replaced; None: this one does not hold here."""
        merged: dict[LimitKind, Quota | None] = {**self.by_kind, **changes}
        return replace(self, by_kind={kind: quota for kind, quota in merged.items() if quota is not None})


class LimitTextError(DomainError):
    """A setting does not say a limit."""


LETS_ENCRYPT = Limits(
    name="letsencrypt",
    by_kind={
        LimitKind.ORDERS_PER_ACCOUNT: Quota(count=300, period_s=3 * HOUR_S),
        LimitKind.CERTIFICATES_PER_DOMAIN: Quota(count=50, period_s=WEEK_S),
        LimitKind.CERTIFICATES_PER_NAMES: Quota(count=5, period_s=WEEK_S),
        LimitKind.FAILURES_PER_NAME: Quota(count=5, period_s=HOUR_S),
    },
    per_second={
        "newNonce": PerSecond(rate=20, burst=10),
        "newAccount": PerSecond(rate=5, burst=15),
        "newOrder": PerSecond(rate=300, burst=200),
        "revokeCert": PerSecond(rate=10, burst=100),
        "renewalInfo": PerSecond(rate=1000, burst=100),
        "directory": PerSecond(rate=40, burst=40),
        "": PerSecond(rate=250, burst=125),
    },
    renewals_exempt=True,
    same_names_exempt=True,
)
LETS_ENCRYPT_STAGING = Limits(
    name="letsencrypt-staging",
    by_kind={
        # 30,000 certificates per second and registered domain is no limit that HQ could reach.
        LimitKind.ORDERS_PER_ACCOUNT: Quota(count=1500, period_s=3 * HOUR_S),
        LimitKind.CERTIFICATES_PER_NAMES: Quota(count=30_000, period_s=WEEK_S),
        LimitKind.FAILURES_PER_NAME: Quota(count=200, period_s=HOUR_S),
    },
    per_second={
        **LETS_ENCRYPT.per_second,
        "newOrder": PerSecond(rate=20, burst=40),
        "": PerSecond(rate=20, burst=20),
    },
    renewals_exempt=True,
    same_names_exempt=True,
)
ZEROSSL = Limits(
    name="zerossl",
    by_kind={},
    # Not published; lego's authors found that about seven requests per second pass.
    per_second={"": PerSecond(rate=7, burst=7)},
    renewals_exempt=False,
    same_names_exempt=False,
)
NONE_KNOWN = Limits(name="none", by_kind={}, per_second={}, renewals_exempt=False, same_names_exempt=False)
"""Nothing is known: HQ asks freely and learns from the CA's refusals. Google's quotas belong to the maker's project."""

BY_NAME: Mapping[str, Limits] = {
    limits.name: limits for limits in (LETS_ENCRYPT, LETS_ENCRYPT_STAGING, ZEROSSL, NONE_KNOWN)
}
_BY_HOST: Mapping[str, Limits] = {
    "acme-v02.api.letsencrypt.org": LETS_ENCRYPT,
    "acme-staging-v02.api.letsencrypt.org": LETS_ENCRYPT_STAGING,
    "acme.zerossl.com": ZEROSSL,
}


def limits_for(directory_url: str) -> Limits:
    """The limits of the CA whose directory this is; `NONE_KNOWN` for one that is not listed here."""
    return _BY_HOST.get((urlsplit(directory_url).hostname or "").lower(), NONE_KNOWN)


def parse_quota(text: str) -> Quota | None:
    """Read a limit such as "300/3h" or "50/w"; None for "none": no limit. Raises `LimitTextError`."""
    if text.strip() == "none":
        return None
    match = _QUOTA_TEXT.fullmatch(text.strip())
    if match is None:
        raise LimitTextError(f'"{text}" is no limit: write how many in what time, such as 300/3h or 1000/7d, or none')
    count, many, unit = int(match[1]), int(match[2] or 1), match[3]
    period_s = many * _UNITS_S[unit]
    if not 0 < period_s <= _LONGEST_S:
        raise LimitTextError(f'"{text}": the time must be between a second and a year')
    return Quota(count=count, period_s=period_s)


def quota_text(quota: Quota) -> str:
    """The text that `parse_quota` reads back, in the largest unit that fits."""
    for unit, unit_s in sorted(_UNITS_S.items(), key=lambda each: -each[1]):
        if unit != "w" and quota.period_s % unit_s == 0:
            return f"{quota.count}/{quota.period_s // unit_s}{unit}"
    return f"{quota.count}/{quota.period_s}s"
