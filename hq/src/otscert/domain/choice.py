"""Which issuer does an order go to? One rule: asked when its turn comes, and when its present issuer has failed it.

Pure. How well each issuer is, what its limits would make this order wait, and what became of the last run are given;
what an error of the CA means is `acme.fault`'s, what is kept of an issuer `store.issuers`'.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from otscert.domain.breaker import Breaker, BreakerState
from otscert.domain.order import TERMINAL, OrderState

FIRST_BOOT_PATIENCE_S = 60
"""Somebody sits before a box without a certificate."""
LEAST_PATIENCE_S, MOST_PATIENCE_S = 60, 24 * 3600
PATIENCE_SHARE = 20
"""A renewal waits a twentieth of the life left for the issuer that it prefers: of 15 days 18 h, of 1 h 180 s."""
URGENT_S = 3600
"""With less of its life left an order does not try for all others whether an issuer works again."""


class Trouble(StrEnum):
    """What the last run of the order ended with."""

    NONE = "none"
    ISSUER = "issuer"  # it did not answer, or with what no CA answers; or it has not come to an end
    ACCOUNT = "account"  # it takes nothing from this account until a person acts
    PAUSED = "paused"  # it takes no order for these names until a person acts
    LIMIT = "limit"  # a limit of the CA is used up; what that means is in the candidates' `wait_s`
    REFUSED = "refused"  # it will never give this certificate, another one might
    ORDER = "order"  # something about this order that no other issuer would mend


_MAY_MOVE = frozenset({Trouble.ISSUER, Trouble.ACCOUNT, Trouble.PAUSED, Trouble.REFUSED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One issuer of the model. `wait_s` is what its limits would make this order wait."""

    name: str
    breaker: Breaker
    account_problem: str = ""
    wait_s: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """The order: where it is, at which issuer, since when that one fails it, and what its box has meanwhile."""

    state: OrderState
    issuer: str
    failing_since_s: int | None = None
    trouble: Trouble = Trouble.NONE
    left_s: int | None = None
    """What is left of the life of the box's certificate; None: it has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """`name` is None when no issuer can be asked at all; nothing is asked before `wait_s` have passed."""

    name: str | None
    reason: str
    wait_s: int = 0
    trial: bool = False
    """It goes there to see for all others whether the issuer works again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Prospect:
    """What an order can expect of a candidate: `delay_s` counts from when its trouble began, `wait_s` from now."""

    name: str
    wait_s: int
    delay_s: int
    usable: bool
    trial: bool
    why: str


def patience_s(left_s: int | None) -> int:
    """How long an order waits for an issuer that it prefers, all in all, before it goes to the next one."""
    if left_s is None:
        return FIRST_BOOT_PATIENCE_S
    return min(max(left_s // PATIENCE_SHARE, LEAST_PATIENCE_S), MOST_PATIENCE_S)


def choose_issuer(case: Case, candidates: Sequence[Candidate], *, now_s: int) -> Choice:
    """Choose among the candidates, which are in order of preference.

    An order whose certificate may have been asked for stays: only its own issuer can say what became of it. One that
    is under way stays as long as nothing is wrong with its issuer. One that waits goes to the first issuer that does
    not try its patience; where all do, to the one that can be asked first.
    """
    if case.state is OrderState.FINALIZING or case.state in TERMINAL:
        return Choice(name=case.issuer, reason="its certificate was asked for there: nobody else may be asked")
    present = next((each for each in candidates if each.name == case.issuer), None)
    if case.state is not OrderState.WAITING and present is not None and case.trouble not in _MAY_MOVE:
        return Choice(name=case.issuer, reason="it is under way there")
    if case.trouble is Trouble.REFUSED and present is not None:
        # Only on: an order that several refuse comes to an end.
        candidates = candidates[candidates.index(present) + 1 :]
        if not candidates:
            return Choice(name=case.issuer, reason="no other issuer is left to ask")
    prospects = [_judge(case, candidate, now_s=now_s) for candidate in candidates]
    if not prospects:
        return Choice(name=None, reason="no issuer of its model is in the configuration", wait_s=LEAST_PATIENCE_S)
    return _best(case, prospects)


def _best(case: Case, prospects: list[_Prospect]) -> Choice:
    patience = patience_s(case.left_s)
    urgent = case.left_s is not None and case.left_s < URGENT_S
    calm = [each for each in prospects if each.usable and each.delay_s <= patience]
    # Whoever was moved stays where it can go on: to and fro between two issuers would serve nobody.
    here = [each for each in calm if each.name == case.issuer and not each.delay_s and not each.trial]
    sure = [each for each in calm if not (urgent and each.trial)]
    if here or sure or calm:
        chosen = (here or sure or calm)[0]
        passed = [each for each in prospects[: prospects.index(chosen)] if not here]
        return _choice(chosen, passed)
    usable = [each for each in prospects if each.usable]
    if usable:
        chosen = min(usable, key=lambda each: each.wait_s)
        return _choice(chosen, prospects)
    wait_s = min(each.wait_s for each in prospects)
    return Choice(name=None, reason="; ".join(each.why for each in prospects), wait_s=wait_s)


def _choice(chosen: _Prospect, passed: list[_Prospect]) -> Choice:
    said = [each.why for each in passed] or [chosen.why]
    return Choice(name=chosen.name, reason="; ".join(said), wait_s=chosen.wait_s, trial=chosen.trial)


def _judge(case: Case, candidate: Candidate, *, now_s: int) -> _Prospect:
    name, breaker = candidate.name, candidate.breaker
    state = breaker.state(now_s)
    rest_s = max(0, breaker.open_until_s - now_s) if state is BreakerState.OPEN else 0
    wait_s = max(rest_s, candidate.wait_s)
    here = name == case.issuer
    failing_s = max(0, now_s - case.failing_since_s) if here and case.failing_since_s is not None else 0
    paused = here and case.trouble is Trouble.PAUSED
    usable, why = True, f"{name} is the preferred issuer that can be asked"
    if state is BreakerState.OPEN and candidate.account_problem:
        usable, why = False, f"{name}: its account needs a person ({candidate.account_problem}): {breaker.reason}"
    elif paused or (here and case.trouble is Trouble.ACCOUNT):
        usable, why = False, f"{name} takes no order of it until a person acts"
    elif state is BreakerState.OPEN:
        failing_s = max(failing_s, breaker.failing_for_s(now_s))
        why = f"{name} has failed for {breaker.failing_for_s(now_s)} s: {breaker.reason}"
    elif state is BreakerState.HALF_OPEN:
        why = f"{name} may work again: this order tries"
    elif candidate.wait_s:
        why = f"the limits of {name} would make it wait {candidate.wait_s} s"
    elif failing_s:
        why = f"{name} has failed this order for {failing_s} s"
    trial = state is BreakerState.HALF_OPEN and usable
    return _Prospect(name=name, wait_s=wait_s, delay_s=failing_s + wait_s, usable=usable, trial=trial, why=why)
