"""Whether an issuer is asked at all: a circuit breaker as a table, and what the account's own problems do to it.

Failures that say something about the issuer count (unreachable, 5xx, answers that are none, a closed account), those
that say something about one order do not. Pure: `now` is given; the state is kept by `store.issuers`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from otscert.domain.errors import IllegalMove

TRIPS_AFTER = 5
"""Failures in a row, with no certificate between them, that open the breaker ..."""
TRIPS_AFTER_S = 10
"""... once they span so much time: a hundred requests that one lost connection ended are one failure."""
LEAST_REST_S, LONGEST_REST_S = 30, 600
ACCOUNT_REST_S = 900
"""How long an issuer rests at most whose account needs a person; then one order tries whether somebody has acted."""
PROBE_S = 180
"""How long at least a single order may take to show that the issuer works again; then another one may try."""


class BreakerState(StrEnum):
    CLOSED = "closed"  # orders go there
    OPEN = "open"  # nothing new is asked of it
    HALF_OPEN = "half-open"  # one order may try


class BreakerEvent(StrEnum):
    FAIL = "fail"
    TRIP = "trip"  # it has failed too often, or its account needs a person
    ANSWER = "answer"  # it refused one order in ACME's words: it works, as far as that shows
    SUCCEED = "succeed"  # it gave a certificate
    WAIT = "wait"  # the rest is over
    TRY = "try"  # one order is let through


_S, _E = BreakerState, BreakerEvent
MOVES: dict[tuple[BreakerState, BreakerEvent], BreakerState] = {
    (_S.CLOSED, _E.FAIL): _S.CLOSED,
    (_S.CLOSED, _E.TRIP): _S.OPEN,
    (_S.CLOSED, _E.ANSWER): _S.CLOSED,
    (_S.CLOSED, _E.SUCCEED): _S.CLOSED,
    (_S.OPEN, _E.FAIL): _S.OPEN,
    (_S.OPEN, _E.TRIP): _S.OPEN,
    (_S.OPEN, _E.ANSWER): _S.HALF_OPEN,  # of an order that was under way, or of the one that tries
    (_S.OPEN, _E.SUCCEED): _S.CLOSED,
    (_S.OPEN, _E.WAIT): _S.HALF_OPEN,
    (_S.HALF_OPEN, _E.FAIL): _S.OPEN,
    (_S.HALF_OPEN, _E.TRIP): _S.OPEN,
    (_S.HALF_OPEN, _E.ANSWER): _S.HALF_OPEN,
    (_S.HALF_OPEN, _E.SUCCEED): _S.CLOSED,
    (_S.HALF_OPEN, _E.TRY): _S.OPEN,  # for all others, until it is known what became of it
}


def move(state: BreakerState, event: BreakerEvent) -> BreakerState:
    """The state after `event`; raises `IllegalMove` when the table has no such move."""
    try:
        return MOVES[state, event]
    except KeyError:
        raise IllegalMove("issuer", state, event) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaker:
    """What is kept of one issuer. `failures` are in a row, the first of them at `failing_since_s`."""

    failures: int = 0
    failing_since_s: int | None = None
    open_until_s: int = 0
    """0 while it is closed."""
    reason: str = ""
    """Of the last failure."""

    def state(self, now_s: int) -> BreakerState:
        if not self.open_until_s:
            return BreakerState.CLOSED
        # Nobody rests for longer: a moment beyond was written by a clock that was ahead.
        resting = now_s < self.open_until_s <= now_s + ACCOUNT_REST_S
        return BreakerState.OPEN if resting else move(BreakerState.OPEN, BreakerEvent.WAIT)

    def failing_for_s(self, now_s: int) -> int:
        return 0 if self.failing_since_s is None else max(0, now_s - self.failing_since_s)


WELL = Breaker()


def failed(breaker: Breaker, *, reason: str, now_s: int) -> Breaker:
    """Count a failure of the issuer; the longer it fails, the longer it rests."""
    since_s = now_s if breaker.failing_since_s is None else min(breaker.failing_since_s, now_s)
    failures = breaker.failures + 1
    enough = failures >= TRIPS_AFTER and now_s - since_s >= TRIPS_AFTER_S
    event = BreakerEvent.TRIP if enough else BreakerEvent.FAIL
    before = breaker.state(now_s)
    after = move(before, event)
    open_until_s = now_s + _rest_s(since_s, now_s) if after is BreakerState.OPEN else 0
    if before is BreakerState.OPEN:
        # Of the order that tries, or of one that was under way: some that fail for ever must not keep it shut.
        open_until_s = min(open_until_s, breaker.open_until_s)
    return Breaker(failures=failures, failing_since_s=since_s, open_until_s=open_until_s, reason=reason)


def _rest_s(since_s: int, now_s: int) -> int:
    return min(max((now_s - since_s) // 2, LEAST_REST_S), LONGEST_REST_S)


def needs_person(breaker: Breaker, *, reason: str, now_s: int, again: bool = False) -> Breaker:
    """The account cannot be used until somebody acts: open at once, however well the CA answers.

    `again`: this was known already.
    """
    open_until_s = now_s + ACCOUNT_REST_S
    if again and breaker.open_until_s:
        # Of orders that were under way, or of the one that tries: however many fail, the next one tries in its time.
        return replace(
            breaker, failures=breaker.failures + 1, open_until_s=min(open_until_s, breaker.open_until_s), reason=reason
        )
    move(breaker.state(now_s), BreakerEvent.TRIP)
    since_s = now_s if breaker.failing_since_s is None else breaker.failing_since_s
    return Breaker(failures=breaker.failures + 1, failing_since_s=since_s, open_until_s=open_until_s, reason=reason)


def answered(breaker: Breaker, *, now_s: int) -> Breaker:
    """It refused one order in ACME's words. Whoever tried for all is done: the next one may."""
    if move(breaker.state(now_s), BreakerEvent.ANSWER) is BreakerState.CLOSED:
        return breaker
    return replace(breaker, open_until_s=now_s)


def tried(breaker: Breaker, *, now_s: int) -> Breaker:
    """One order is let through: nobody else until its end is known, or it has taken too long.

    That is at least as long as the issuer rests when the order fails: a failure never makes a rest longer.
    """
    move(breaker.state(now_s), BreakerEvent.TRY)
    since_s = now_s if breaker.failing_since_s is None else breaker.failing_since_s
    return replace(breaker, open_until_s=now_s + max(PROBE_S, _rest_s(since_s, now_s)))
