"""When is a certificate renewed? One rule, asked by check-ins and by `otscert device show`.

The moment is chosen inside the window that the CA suggests (RFC 9773, "ARI"); without a window that can be trusted it
is Let's Encrypt's rule for integrators: one third of the life left, half of it for lives under ten days. Pure: the
dice are given, who asks the CA and how often is `service.ari`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from otscert.domain.recall import Recall

SHORT_LIFE_S = 10 * 24 * 3600
SOONEST_S = 60
"""A renewal that is due is not asked for more often than this."""
ASK_AGAIN_S = 6 * 3600
"""RFC 9773 section 4.3.3: the time until the CA is asked again when it does not say."""
LEAST_ASK_S, LONGEST_ASK_S = 60, 24 * 3600
"""RFC 9773 section 4.3.2: "Clients MUST set reasonable limits on their checking interval"; these are its examples."""


_WINDOW_SHARE = 50
"""Boxes call at least once in this part of a life: Let's Encrypt's windows are 2 % of it, 3.2 hours of 160."""
_SLACK_S = 300
"""Boxes call so much later than the moment at most, so that those of one moment do not call in one second."""
_PATIENCE = 20
"""A box that was told and does nothing is told again, ever more seldom: after this part of the time that it is due."""


_BEFORE_S = 24 * 3600
"""A certificate that is revoked just after it was issued has a window that was over a little before its life."""


class Lane(StrEnum):
    """How urgent a renewal is."""

    NOT_DUE = "not due"
    ROUTINE = "routine"
    EMERGENCY = "emergency"  # so little of the life is left that something has gone wrong
    INCIDENT = "incident"  # the CA moved its window into the past, or the operator recalled it: now, while it lasts


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """The window that the CA suggests, and our moment in it; Unix seconds."""

    start_s: int
    end_s: int
    told_s: int
    """When the CA first named this window."""
    at_s: int
    """Drawn once, kept for as long as it lies in the window that the CA names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RenewalDecision:
    lane: Lane
    at_s: int
    """Unix seconds at which renewal is or was due."""
    reason: str
    recalled: bool = False
    """Whether the CA or the operator wants it replaced now; in the lane of an emergency, too."""

    @property
    def due(self) -> bool:
        return self.lane is not Lane.NOT_DUE


def judge_renewal(
    *, not_before_s: int, not_after_s: int, now_s: int, window: Window | None = None, recall: Recall | None = None
) -> RenewalDecision:
    """Decide whether a certificate with this validity is due, and say when it is.

    A recalled one that is late, too, is an emergency: it goes before those that were recalled with more life left.
    """
    life_s = not_after_s - not_before_s
    share, left_s = ("half", life_s // 2) if life_s < SHORT_LIFE_S else ("a third", life_s // 3)
    usual_s = not_after_s - left_s
    latest_s = not_after_s - left_s // 2
    moved = window is not None and _is_recalled(window, usual_s=usual_s, now_s=now_s)
    trusted = window is not None and not moved and window.end_s <= not_after_s and window.at_s <= latest_s
    at_s = _moment_s(window, usual_s) if window is not None and trusted else usual_s
    recalled = _recalled(window if moved else None, recall)
    if recalled is not None:
        at_s = min(at_s, recalled[0])
    if now_s >= latest_s:
        reason = "the certificate has expired"
        if now_s < not_after_s:
            reason = f"less than {share} of its life is left, and of that less than half: it is late"
        if recalled is not None:
            reason = f"{reason}; besides, {recalled[1]}"
        return RenewalDecision(lane=Lane.EMERGENCY, at_s=at_s, reason=reason, recalled=recalled is not None)
    if recalled is not None:
        return RenewalDecision(lane=Lane.INCIDENT, at_s=at_s, reason=recalled[1], recalled=True)
    if window is not None and trusted and now_s >= at_s:
        reason = "the moment chosen in the window that the CA suggests has come"
        if now_s < window.at_s:
            reason = f"the window that the CA suggests is open, and less than {share} of its life is left"
        return RenewalDecision(lane=Lane.ROUTINE, at_s=at_s, reason=reason)
    why_not = "" if window is None or trusted else "; the window that the CA suggests lies too late to wait for it"
    if now_s >= at_s:
        return RenewalDecision(lane=Lane.ROUTINE, at_s=at_s, reason=f"less than {share} of its life is left{why_not}")
    reason = "the CA suggests a later window" if trusted else f"enough of its life is left{why_not}"
    return RenewalDecision(lane=Lane.NOT_DUE, at_s=at_s, reason=reason)


def _moment_s(window: Window, usual_s: int) -> int:
    """Our moment in the window, or when renewal would be due without one, if the window has begun by then.

    A box that calls in the last third of the life may be the next moment away for good: it is never told to wait for
    the rest of a window that is open.
    """
    return min(window.at_s, usual_s) if window.start_s <= usual_s else window.at_s


def _recalled(moved: Window | None, recall: Recall | None) -> tuple[int, str] | None:
    """Since when it is to be replaced at once, and who wants that; None when nobody does."""
    if recall is not None:
        why = f": {recall.reason}" if recall.reason else ""
        return recall.since_s, f"HQ's operator wants it replaced now{why}"
    if moved is not None:
        return moved.told_s, "the CA wants it replaced now: the window that it suggests lies in the past"
    return None


def _is_recalled(window: Window, *, usual_s: int, now_s: int) -> bool:
    """Whether the window was over when it was named, before a renewal would have been due anyway.

    One that a box has missed, or HQ, is over too; and a window that was named in the future was so by a wrong clock.
    """
    return window.end_s <= window.told_s <= now_s and window.end_s < usual_s


def why_unusable(*, start_s: int, end_s: int, not_before_s: int, not_after_s: int) -> str | None:
    """Why a window cannot be meant for a certificate with this validity; None when it can.

    One that is longer than the life or over long before it began would let boxes order at any time, again and again.
    """
    if end_s <= start_s:
        return "it does not end after its start"
    if end_s - start_s > not_after_s - not_before_s:
        return "it is longer than the certificate's life"
    if end_s <= not_before_s - _BEFORE_S:
        return "it ends long before the certificate is valid"
    return None


def choose_moment(*, start_s: int, end_s: int, kept: Window | None, now_s: int, dice: float) -> Window:
    """Take up the window that the CA names; `dice` in [0, 1) choose the moment unless the `kept` one lies in it.

    Its last tenth is left for the box to call and for the order to be placed: outside it may cost from the limits.
    """
    same = kept is not None and (kept.start_s, kept.end_s) == (start_s, end_s)
    stays = kept is not None and start_s <= kept.at_s <= end_s
    return Window(
        start_s=start_s,
        end_s=end_s,
        told_s=kept.told_s if kept is not None and same else now_s,
        at_s=kept.at_s if kept is not None and stays else start_s + int((end_s - start_s) * dice * 0.9),
    )


def ask_again_s(retry_after_s: float | None, *, jitter: float) -> int:
    """Seconds until the CA is asked for the window again; `jitter` in [0, 1) adds up to a tenth."""
    wait_s = ASK_AGAIN_S if retry_after_s is None else min(max(retry_after_s, LEAST_ASK_S), LONGEST_ASK_S)
    return round(wait_s * (1 + jitter / 10))


def next_checkin_s(
    *,
    life_s: int | None,
    due_at_s: int | None,
    now_s: int,
    usual_s: int,
    jitter: float,
    incident_s: int | None = None,
) -> int:
    """Seconds until the box should call again.

    `life_s` is of its certificate: a short one is looked after more often than `usual_s`. `due_at_s`: when its renewal
    is due, None when nothing can be done about that; it calls just after it. `incident_s`: how often boxes call that a
    running incident concerns. `jitter` in [0, 1) spreads the fleet.
    """
    if life_s is not None:
        usual_s = min(usual_s, max(SOONEST_S, life_s // _WINDOW_SHARE))
    if due_at_s is not None and due_at_s <= now_s:
        # It was told; whoever renews is given another time with his order, so this is for the others.
        usual_s = min(usual_s, max(SOONEST_S, (now_s - due_at_s) // _PATIENCE, incident_s or 0))
    elif incident_s is not None:
        usual_s = min(usual_s, incident_s)
    if due_at_s is not None and now_s < due_at_s < now_s + usual_s:
        return due_at_s - now_s + 1 + int(min(_SLACK_S, usual_s // 10) * jitter)
    return max(1, round(usual_s * (0.9 + 0.1 * jitter)))
