"""What CAs allow, as data: which limits there are, what each counts, and what is known of each CA.

Sources: letsencrypt.org/docs/rate-limits (August 2026) and Boulder's code. A limit that is not listed is not known to
exist; a 429 of the CA then parks what it names (`domain.budget`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from otscert.domain.quota import Quota

HOUR_S = 3600
DAY_S = 24 * HOUR_S


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
