"""Which rank an order gets: who goes first while a CA's limits are short. One rule, for first orders and renewals.

Pure; what is done with a rank is `domain.budget`'s, how urgent a renewal is `domain.renewal`'s.
"""

from __future__ import annotations

from dataclasses import dataclass

from otscert.domain.admission import Policy
from otscert.domain.budget import Rank
from otscert.domain.renewal import Lane


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    rank: Rank
    reason: str


_BY_LANE: dict[Lane, Ranking] = {
    Lane.EMERGENCY: Ranking(rank=Rank.EXPIRING, reason="its certificate has ended or is about to"),
    Lane.INCIDENT: Ranking(rank=Rank.INCIDENT, reason="its certificate is to be replaced now"),
    Lane.ROUTINE: Ranking(rank=Rank.ROUTINE, reason="its certificate is renewed in time"),
    # A box may ask for more than it was told to: an early rekey, or a lost pair.
    Lane.NOT_DUE: Ranking(rank=Rank.ROUTINE, reason="its certificate is good for long yet"),
}
_FIRST = Ranking(rank=Rank.FIRST_BOOT, reason="it has no certificate yet")
_STRANGER = Ranking(rank=Rank.STRANGER, reason="it has no certificate yet, and nobody vouched for it")


def rank_order(*, policy: str, lane: Lane | None) -> Ranking:
    """The rank of an order for a box that `policy` admitted (`domain.admission.Policy`).

    `lane` is of the certificate that the box has under its present identity; None: it has none.
    """
    if lane is None:
        return _STRANGER if policy == Policy.OPEN else _FIRST
    return _BY_LANE[lane]
