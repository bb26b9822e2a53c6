"""The rank of an order, for every policy and lane."""

from __future__ import annotations

import pytest

from otscert.domain.admission import Policy
from otscert.domain.budget import Rank
from otscert.domain.ranking import rank_order
from otscert.domain.renewal import Lane

RENEWALS = {
    Lane.NOT_DUE: Rank.ROUTINE,
    Lane.ROUTINE: Rank.ROUTINE,
    Lane.INCIDENT: Rank.INCIDENT,
    Lane.EMERGENCY: Rank.EXPIRING,
}
FIRST = {
    Policy.FACTORY: Rank.FIRST_BOOT,
    Policy.TOKEN: Rank.FIRST_BOOT,
    Policy.APPROVAL: Rank.FIRST_BOOT,
    Policy.OPEN: Rank.STRANGER,
}


@pytest.mark.parametrize("lane", Lane)
@pytest.mark.parametrize("policy", Policy)
def test_a_renewal_has_the_rank_of_its_lane_whoever_admitted_the_box(policy: Policy, lane: Lane) -> None:
    ranking = rank_order(policy=policy, lane=lane)

    assert ranking.rank is RENEWALS[lane]
    assert ranking.reason


@pytest.mark.parametrize("policy", Policy)
def test_a_first_order_goes_first_unless_nobody_vouched_for_the_box(policy: Policy) -> None:
    ranking = rank_order(policy=policy, lane=None)

    assert ranking.rank is FIRST[policy]
    assert ranking.reason
