from __future__ import annotations

from itertools import product

import pytest

from otscert.domain.assurance import DAY_S, Contribution, Source, judge_assurance, judge_rekey

C, S = Contribution, Source
NOW_S = 10**9


@pytest.mark.parametrize(("has", "wants"), list(product(C, C)))
def test_a_contribution_is_enough_when_it_is_at_least_what_is_demanded(has: Contribution, wants: Contribution) -> None:
    order = [C.NONE, C.OPEN, C.SEALED]
    judged = judge_assurance(has, S.HWRNG, min_contribution=wants, min_source=S.STARVED)
    assert judged.enough is (order.index(has) >= order.index(wants))
    assert judged.reason


@pytest.mark.parametrize(("has", "wants"), list(product(S, S)))
def test_a_source_is_enough_when_it_is_at_least_what_is_demanded(has: Source, wants: Source) -> None:
    order = [S.STARVED, S.JITTER, S.HWRNG, S.SECURE_ELEMENT]
    judged = judge_assurance(C.SEALED, has, min_contribution=C.SEALED, min_source=wants)
    assert judged.enough is (order.index(has) >= order.index(wants))


@pytest.mark.parametrize("claimed", list(S))
def test_a_claim_cannot_make_up_for_what_hq_did_not_contribute(claimed: Source) -> None:
    assert not judge_assurance(C.OPEN, claimed, min_contribution=C.SEALED, min_source=S.STARVED).enough


@pytest.mark.parametrize(
    ("has", "source", "wants", "least", "words"),
    [
        (C.OPEN, S.JITTER, C.SEALED, S.STARVED, ("contribution sealed, this box can have open", "factory secret")),
        (C.NONE, S.JITTER, C.OPEN, S.STARVED, ("contribution open, this box can have none", "a P-256 key")),
        (C.OPEN, S.STARVED, C.OPEN, S.JITTER, ("source jitter or better, this box has starved", "generator")),
    ],
)
def test_what_is_missing_is_said(
    has: Contribution, source: Source, wants: Contribution, least: Source, words: tuple[str, ...]
) -> None:
    judged = judge_assurance(has, source, min_contribution=wants, min_source=least)
    assert not judged.enough
    for word in words:
        assert word in judged.reason


@pytest.mark.parametrize(
    ("contribution", "first", "age_s", "rekey_after_s", "due", "at_s"),
    [
        (C.OPEN, True, 3 * DAY_S - 1, 3 * DAY_S, False, NOW_S + 1),
        (C.OPEN, True, 3 * DAY_S, 3 * DAY_S, True, NOW_S),
        (C.OPEN, True, 30 * DAY_S, 3 * DAY_S, True, NOW_S - 27 * DAY_S),
        (C.NONE, True, 3 * DAY_S, 3 * DAY_S, True, NOW_S),
        (C.SEALED, True, 30 * DAY_S, 3 * DAY_S, False, None),
        (C.OPEN, False, 30 * DAY_S, 3 * DAY_S, False, None),
        (C.OPEN, True, 30 * DAY_S, 0, False, None),
    ],
)
def test_only_a_first_key_that_may_have_been_seen_is_replaced_early(
    contribution: Contribution,
    *,
    first: bool,
    age_s: int,
    rekey_after_s: int,
    due: bool,
    at_s: int | None,
) -> None:
    decision = judge_rekey(
        contribution, first=first, issued_at_s=NOW_S - age_s, rekey_after_s=rekey_after_s, now_s=NOW_S
    )
    assert (decision.due, decision.at_s) == (due, at_s)
    assert decision.reason
