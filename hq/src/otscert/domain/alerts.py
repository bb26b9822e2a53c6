"""The words of alerts: kinds, severities, and one thing that is wrong. Knows no rule and no text of a kind.

What is wrong is found by `alert_rules`, explained by `alert_texts`, told by `alert_news` and `alert_message`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86_400
_LONGEST = 400


class Severity(StrEnum):
    WARNING = "warning"  # somebody looks today
    CRITICAL = "critical"  # somebody gets up

    @property
    def weight(self) -> int:
        return list(Severity).index(self)


class Kind(StrEnum):
    RENEWAL_LATE = "renewal.late"
    ORDER_STUCK = "order.stuck"
    BOX_AWAY = "box.away"
    NOT_SERVED = "certificate.not_served"
    BUDGET_SHORT = "budget.short"
    ISSUER_DOWN = "issuer.down"
    ISSUER_ACCOUNT = "issuer.account"
    CLONE_SEEN = "clone.seen"
    RNG_REPEATS = "rng.repeats"
    DISK_NEARLY_FULL = "disk.nearly_full"
    HQ_CERTIFICATE = "hq.certificate_ends"
    HQ_NO_WORKER = "hq.no_worker"
    REVOCATION_STUCK = "revocation.stuck"
    INCIDENT_RUNNING = "incident.running"
    CHANNEL_FAILS = "channel.fails"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """Something that is wrong. `subject` tells alerts of one kind apart; empty: it is about all of HQ."""

    kind: str
    subject: str
    severity: Severity
    since_s: int
    count: int
    """How many boxes (orders, certificates) are concerned."""
    what: str
    """A sentence without its full stop."""
    examples: tuple[str, ...] = ()
    details: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, str]:
        return self.kind, self.subject


def plural(count: int, one: str, many: str = "") -> str:
    return f"{count} {one}" if count == 1 else f"{count} {many or one + 's'}"


def clean(text: str) -> str:
    """A text of somebody else, as one line of bounded length."""
    shown = "".join(character if character.isprintable() else " " for character in text)
    return shown if len(shown) <= _LONGEST else shown[: _LONGEST - 3] + "..."
