"""What alerting looks at, as values: how many boxes and orders have which trouble, and how HQ itself is.

Gathered by `service.alert_facts` at one moment. Says nothing of what is bad enough to tell somebody: that is `alerts`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Some:
    """So many with the same trouble, since when the first of them (Unix seconds), and a few by name."""

    count: int = 0
    since_s: int | None = None
    examples: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuerFacts:
    """One issuer of the configuration; an empty `account_problem` is none."""

    name: str
    failing_since_s: int | None = None
    failures: int = 0
    reason: str = ""
    last_success_s: int | None = None
    account_problem: str = ""
    account_reason: str = ""
    account_link: str = ""
    account_since_s: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetFacts:
    """A bucket of an issuer that orders wait for. `urgent`: how many of them have a certificate that nears its end."""

    issuer: str
    bucket: str
    waiting: int
    urgent: int
    since_s: int
    """When the first of the orders was made."""
    reason: str = ""
    """The CA's own words, when it was the CA that refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IncidentFacts:
    id: str
    reason: str
    started_s: int
    marked: int
    left: int
    """Certificates that are still to be replaced."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelFacts:
    """A channel that has messages waiting which it has refused before."""

    name: str
    waiting: int
    since_s: int
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Everything at one moment. What could not be found out, or is not to be judged, is None or empty."""

    late: Some = field(default_factory=Some)
    """Boxes that call, whose newest certificate should have been replaced long ago, and no order is just doing it."""
    lapsed: Some = field(default_factory=Some)
    """The same, and it has ended."""
    away: Some = field(default_factory=Some)
    """Boxes that do not call, whose certificate nears its end."""
    not_served: Some = field(default_factory=Some)
    """Boxes that go on serving another certificate than their newest."""
    held_back: Some = field(default_factory=Some)
    """Boxes that get no more certificates because the last ones were never seen served."""
    unattended: Some = field(default_factory=Some)
    """Orders that are due and that nobody works on."""
    old_orders: Some = field(default_factory=Some)
    """Orders of boxes in service that have not ended for long, though no limit of the CA holds them up."""
    shared: Some = field(default_factory=Some)
    """Boxes that are frozen: two have one identity."""
    copied_units: Some = field(default_factory=Some)
    """Factory keys that came from two boards, in the last day."""
    copies_told: int = 0
    """Copies of a box's state that called and were told to start over, in the last day."""
    revocations: Some = field(default_factory=Some)
    """Certificates that the CA has not revoked yet."""
    repeating: Sequence[tuple[str, int]] = ()
    """Models whose generator of randomness repeats, and since when."""
    issuers: Sequence[IssuerFacts] = ()
    budgets: Sequence[BudgetFacts] = ()
    incidents: Sequence[IncidentFacts] = ()
    channels: Sequence[ChannelFacts] = ()
    disk_free_bytes: int | None = None
    own_ends: Sequence[tuple[str, int]] = ()
    """HQ's own certificates (tls, answer, root) and when each ends."""
    worker_seen_s: int | None = None
    """When a process with the role worker was last seen; None: not to be judged."""
