"""When is a certificate renewed? One rule, asked by check-ins and by `otscert device show`.

RFC 9773 (ARI) windows come with the CA side; this is the rule that holds without them (Let's Encrypt's
integration guide: one third of the life left, half of it for lives under ten days).
"""

from __future__ import annotations

from dataclasses import dataclass

SHORT_LIFE_S = 10 * 24 * 3600
SOONEST_S = 60
"""A renewal that is due is not asked for more often than this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RenewalDecision:
    due: bool
    at_s: int
    """Unix seconds at which renewal is or was due."""
    reason: str


def judge_renewal(*, not_before_s: int, not_after_s: int, now_s: int) -> RenewalDecision:
    """Decide whether a certificate with this validity is due, and say when it is."""
    life_s = not_after_s - not_before_s
    left_s = life_s // 2 if life_s < SHORT_LIFE_S else life_s // 3
    at_s = not_after_s - left_s
    if now_s >= not_after_s:
        return RenewalDecision(due=True, at_s=at_s, reason="the certificate has expired")
    if now_s >= at_s:
        share = "half" if life_s < SHORT_LIFE_S else "a third"
        return RenewalDecision(due=True, at_s=at_s, reason=f"less than {share} of its life is left")
    return RenewalDecision(due=False, at_s=at_s, reason="enough of its life is left")


def next_checkin_s(*, renew_at_s: int | None, now_s: int, usual_s: int, jitter: float) -> int:
    """Seconds until the box should call again: as usual, sooner when renewal falls due before that.

    `jitter` in [0, 1) spreads the fleet over the last tenth of the interval.
    """
    interval_s = usual_s
    if renew_at_s is not None:
        interval_s = min(usual_s, max(SOONEST_S, renew_at_s - now_s + 1))
    return max(1, round(interval_s * (0.9 + 0.1 * jitter)))
