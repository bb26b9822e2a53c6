"""What a launch is and what becomes of it: the values that `otscert plan` computes with. No simulation here.

Times of a plan are milliseconds since the launch began; a plan has no calendar.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from otscert.domain.budget import Exemption
from otscert.domain.limits import DAY_S, HOUR_S, Limits
from otscert.domain.renewal import judge_renewal

DAY_MS = DAY_S * 1000
REQUESTS_PER_ORDER = 6
"""To everything but newOrder: authorization, challenge, order, finalize, order, certificate (measured)."""
ASKS_PER_DAY = 2
"""How often a CA is asked for a certificate's window (RFC 9773); Let's Encrypt says every six hours, or less."""


class Profile(StrEnum):
    """Let's Encrypt's profiles (July 2026). From 2027-02-10 classic is 64 days, from 2028-02-16 45 days."""

    CLASSIC = "classic"
    TLSSERVER = "tlsserver"
    SHORTLIVED = "shortlived"

    @property
    def life_s(self) -> int:
        return {"classic": 90 * DAY_S, "tlsserver": 45 * DAY_S, "shortlived": 160 * HOUR_S}[self.value]


class Renewals(StrEnum):
    """How the CA sees a renewal, and so what it costs."""

    ARI = "ari"  # inside the window that it suggested, with `replaces`
    NAMES = "names"  # names that had a certificate of this CA before
    NEW = "new"  # as any new order: after a move to another CA, or at one without exemptions

    @property
    def exemption(self) -> Exemption:
        return {"ari": Exemption.ARI_WINDOW, "names": Exemption.SAME_NAMES, "new": Exemption.NONE}[self.value]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A launch and the fleet after it. `per_day` None: all boxes are switched on at the same moment."""

    boxes: int
    per_day: int | None
    life_s: int
    limits: Limits
    public_suffix: bool
    """Each box's name is a registered domain of its own: the zone is on the Public Suffix List."""
    renewals: Renewals = Renewals.ARI
    strangers: bool = False
    """Nobody vouches for the boxes (policy open): they leave a reserve of each limit to others."""
    in_flight: int = 100
    """The issuer's `max_in_flight`."""
    order_s: float = 7.0
    """From newOrder to the certificate; Let's Encrypt takes 5 to 10 s."""

    @property
    def launch_ms(self) -> int:
        """When the last box is switched on."""
        return 0 if self.per_day is None else self.boxes * DAY_MS // self.per_day

    @property
    def renew_after_ms(self) -> int:
        """From a certificate to its renewal, by the rule that HQ renews by."""
        return judge_renewal(not_before_s=0, not_after_s=self.life_s, now_s=0).at_s * 1000

    @property
    def window_ms(self) -> int:
        """Let's Encrypt's window is 2 % of the life wide, around that moment; without one there is no spread."""
        return self.life_s * 20 if self.renewals is Renewals.ARI else 0

    def arrived(self, at_ms: int) -> int:
        """How many boxes have been switched on by then."""
        if self.per_day is None:
            return self.boxes
        return min(self.boxes, self.per_day * at_ms // DAY_MS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One moment of a course. `first` and `renewals` are how many orders there have been until then."""

    at_ms: int
    queue: int
    """Boxes that wait for their first certificate."""
    renewing: int
    """Boxes that wait for a renewal that is due."""
    first: int
    renewals: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """What became of a plan."""

    points: tuple[Point, ...]
    served_ms: int | None
    """When the last box has its first certificate; None: never."""
    computed: bool
    """Whether `served_ms` lies beyond what was simulated and follows from the rate that was reached."""
    longest_wait_s: int
    median_wait_s: int
    peak: int
    peak_ms: int
    binding: Mapping[str, float]
    """Which limit kept first boots waiting: its name -> its share of the time in which any waited."""
    renewals_per_day: float
    """Orders a day that the whole fleet renews with, averaged over a life."""
    busiest_per_s: float | None
    """Orders per second in the busiest hours of renewals after the launch; None: its end was not simulated."""
    lapsed: int
    """Certificates that had ended when their renewal's turn came."""
    waiting: int
    """Boxes without a certificate at the end of what was simulated."""
