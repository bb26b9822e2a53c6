"""One certificate being obtained: its states, its legal moves, and how long a stuck one waits.

Each state says what has been *persisted*; the effect that follows may or may not have happened when HQ is killed.
`never two certificates for one CSR` rests on this table: after FINALIZING only the CA's own word `invalid`
lets an order be started again.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from otscert.domain.budget import Rank
from otscert.domain.errors import IllegalMove


class OrderState(StrEnum):
    WAITING = "waiting"  # accepted from the box; nothing sent to a CA
    CREATING = "creating"  # newOrder may have been sent; its URL is not known
    CREATED = "created"  # the order's URL is known
    PUBLISHED = "published"  # the TXT values are stored and served; challenges may have been answered
    FINALIZING = "finalizing"  # finalize may have been sent
    ISSUED = "issued"
    FAILED = "failed"


class OrderEvent(StrEnum):
    CLAIM = "claim"
    OPEN = "open"
    PUBLISH = "publish"
    FINALIZE = "finalize"
    ISSUE = "issue"
    RESTART = "restart"  # the CA's order is gone or invalid; begin again with the same CSR
    FAIL = "fail"


_S, _E = OrderState, OrderEvent
MOVES: dict[tuple[OrderState, OrderEvent], OrderState] = {
    (_S.WAITING, _E.CLAIM): _S.CREATING,
    (_S.WAITING, _E.FAIL): _S.FAILED,
    (_S.CREATING, _E.OPEN): _S.CREATED,
    (_S.CREATING, _E.RESTART): _S.WAITING,
    (_S.CREATING, _E.FAIL): _S.FAILED,
    (_S.CREATED, _E.PUBLISH): _S.PUBLISHED,
    (_S.CREATED, _E.RESTART): _S.WAITING,
    (_S.CREATED, _E.FAIL): _S.FAILED,
    (_S.PUBLISHED, _E.FINALIZE): _S.FINALIZING,
    (_S.PUBLISHED, _E.RESTART): _S.WAITING,
    (_S.PUBLISHED, _E.FAIL): _S.FAILED,
    (_S.FINALIZING, _E.ISSUE): _S.ISSUED,
    (_S.FINALIZING, _E.RESTART): _S.WAITING,  # only on the CA's word that the order is invalid
    (_S.FINALIZING, _E.FAIL): _S.FAILED,
}
TERMINAL = frozenset({OrderState.ISSUED, OrderState.FAILED})


def move(state: OrderState, event: OrderEvent) -> OrderState:
    """The state after `event`; raises `IllegalMove` when the table has no such move."""
    try:
        return MOVES[state, event]
    except KeyError:
        raise IllegalMove("order", state, event) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A row of the order table. Times are Unix seconds; `names` are what the certificate will be for."""

    id: str
    device_id: str
    txid: str
    label: str
    names: tuple[str, ...]
    csr_der: bytes
    state: OrderState
    issuer: str
    profile: str | None
    attempt: int
    """How many runs ended early so far; the back-off grows with it."""
    url: str | None
    reason: str
    """Why it is where it is, in a sentence for box and operator."""
    created_at_s: int
    next_at_s: int
    certificate_sha256: str | None
    replaces: str | None = None
    """The ARI id (RFC 9773) of the certificate that it follows, as the CA is told; decided when it is claimed."""
    rank: Rank = Rank.ROUTINE
    waits_for: str | None = None
    """The name of the bucket of `domain.budget` whose refill it waits for; None: only `next_at_s` counts."""
    failing_since_s: int | None = None
    """Since when its present issuer has failed it."""
    lease_by: str | None = None
    """The process that works on it; a row that was leased to another one since is not moved by this one."""
    lease_until_s: int = 0


BACK_OFF_S = (2, 5, 15, 60, 300, 900, 3600)
_FIRST_COSTLY = 2


def back_off_s(attempt: int, *, retry_after_s: float | None, jitter: float, costly: bool = False) -> int:
    """Seconds to wait after run number `attempt` (from 1) ended early; `jitter` in [0, 1) adds up to a third.

    The CA's Retry-After is a floor. A CA that is down comes back, so nothing waits an hour for it; a `costly` failure
    is one that the CA counts: Let's Encrypt takes five failed validations of a name per hour, so the waits begin at
    15 s and the sixth falls into the second hour.
    """
    waits_s = BACK_OFF_S[_FIRST_COSTLY:] if costly else BACK_OFF_S[:-1]
    base = waits_s[min(max(attempt, 1), len(waits_s)) - 1]
    return round(max(base, retry_after_s or 0) * (1 + jitter / 3))
