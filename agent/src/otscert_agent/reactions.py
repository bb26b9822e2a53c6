"""What the box does about each problem that HQ signs: a table, complete by test.

Pure. Does not carry anything out: that is `loop`.
"""

from __future__ import annotations

from enum import Enum

from otscert_agent.wire.problems import ProblemType


class Reaction(Enum):
    """The things that a box can do about a problem; each but `START_OVER` after a wait."""

    AGAIN = "the same step again, after a back-off that honours retry_after_s"
    RAISE_SEQ = "raise seq above HQ's last_seq and send again"
    NEW_HELLO = "drop the transaction and say hello again with another half of a key"
    INTRODUCE = "say hello with the key itself: HQ does not know it (any more)"
    CHECK_IN = "check in, which tells HQ and box how they stand, before anything else"
    ASK_PERSON = "nothing the box does can change it: wait long, say so"
    START_OVER = "forget identity, name and pair, and enrol as a new box"


REACTIONS: dict[ProblemType, Reaction] = {
    ProblemType.MALFORMED: Reaction.ASK_PERSON,
    ProblemType.BAD_SIGNATURE: Reaction.ASK_PERSON,
    ProblemType.UNKNOWN_KEY: Reaction.INTRODUCE,
    ProblemType.STALE_SEQ: Reaction.RAISE_SEQ,
    ProblemType.SEQ_CONFLICT: Reaction.RAISE_SEQ,
    ProblemType.UNKNOWN_MODEL: Reaction.ASK_PERSON,
    ProblemType.USED_D0: Reaction.NEW_HELLO,
    ProblemType.UNKNOWN_TXID: Reaction.NEW_HELLO,
    ProblemType.TXID_CONFLICT: Reaction.NEW_HELLO,
    ProblemType.BAD_CSR: Reaction.NEW_HELLO,
    ProblemType.BAD_CONTRIBUTION: Reaction.NEW_HELLO,
    ProblemType.BAD_TOKEN: Reaction.ASK_PERSON,
    ProblemType.BAD_ADDRESS: Reaction.AGAIN,
    # A lost answer to a renewal, a restored backup, or a clone: the check-in is where HQ tells them apart.
    ProblemType.STALE_EPOCH: Reaction.CHECK_IN,
    ProblemType.START_OVER: Reaction.START_OVER,
    # The four that only the maker's people can change: what the box has it keeps, and serves.
    ProblemType.UNKNOWN_UNIT: Reaction.ASK_PERSON,
    ProblemType.BLOCKED_UNIT: Reaction.ASK_PERSON,
    ProblemType.LOW_ASSURANCE: Reaction.ASK_PERSON,
    ProblemType.RETIRED: Reaction.ASK_PERSON,
    ProblemType.NOT_FOUND: Reaction.NEW_HELLO,
    ProblemType.OVER_QUOTA: Reaction.AGAIN,
    ProblemType.UNSUPPORTED: Reaction.ASK_PERSON,
    ProblemType.UNAVAILABLE: Reaction.AGAIN,
}

OUT_OF_SERVICE, NOT_ADMITTED = "out of service", "not admitted"  # what pages have a heading of their own for
_VERDICTS: dict[ProblemType, str] = {
    ProblemType.RETIRED: OUT_OF_SERVICE,
    ProblemType.UNKNOWN_MODEL: NOT_ADMITTED,
    ProblemType.BAD_TOKEN: NOT_ADMITTED,
    ProblemType.UNKNOWN_UNIT: NOT_ADMITTED,
    ProblemType.BLOCKED_UNIT: NOT_ADMITTED,
    ProblemType.LOW_ASSURANCE: NOT_ADMITTED,
}


def verdict_of(problem_type: str) -> str | None:
    """What HQ has decided about the box with this problem, if it has."""
    return next((verdict for kind, verdict in _VERDICTS.items() if kind.value == problem_type), None)


def reaction_to(problem_type: str) -> Reaction:
    """The reaction to a problem's `type`; a type of a later protocol is answered with patience."""
    try:
        return REACTIONS[ProblemType(problem_type)]
    except ValueError:
        return Reaction.AGAIN
