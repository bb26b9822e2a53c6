"""A request that HQ answers with a problem; raised anywhere in a use case, it undoes what the use case did so far."""

from __future__ import annotations

from otscert_agent.wire.messages import Problem
from otscert_agent.wire.problems import ProblemType

_TITLES: dict[ProblemType, tuple[int, str]] = {
    ProblemType.MALFORMED: (400, "The message breaks the protocol"),
    ProblemType.BAD_SIGNATURE: (401, "The signature is not valid"),
    ProblemType.UNKNOWN_KEY: (401, "HQ does not know this key"),
    ProblemType.STALE_SEQ: (409, "The message is too old"),
    ProblemType.SEQ_CONFLICT: (409, "The same seq was used for another message"),
    ProblemType.UNKNOWN_MODEL: (404, "HQ does not know this model"),
    ProblemType.USED_D0: (409, "This D0 was seen before"),
    ProblemType.UNKNOWN_TXID: (404, "The transaction has expired or never was"),
    ProblemType.TXID_CONFLICT: (409, "The transaction belongs to another CSR or key"),
    ProblemType.BAD_CSR: (400, "The CSR is not the one that was asked for"),
    ProblemType.BAD_CONTRIBUTION: (400, "The key is not the one that was agreed"),
    ProblemType.BAD_TOKEN: (403, "The claim token is not valid"),
    ProblemType.BAD_ADDRESS: (400, "None of the addresses can be published"),
    ProblemType.STALE_EPOCH: (409, "The epoch token is not the current one"),
    ProblemType.START_OVER: (409, "This identity belongs to another box"),
    ProblemType.UNKNOWN_UNIT: (404, "HQ does not know this unit"),
    ProblemType.BLOCKED_UNIT: (403, "This unit may not enrol"),
    ProblemType.LOW_ASSURANCE: (403, "The box's randomness is not what the model demands"),
    ProblemType.RETIRED: (403, "This box was taken out of service"),
    ProblemType.NOT_FOUND: (404, "There is no such thing"),
    ProblemType.OVER_QUOTA: (429, "The quota is used up"),
    ProblemType.UNSUPPORTED: (400, "HQ does not support this"),
    ProblemType.UNAVAILABLE: (503, "HQ cannot do this right now"),
}


class Refusal(Exception):
    """`event` is recorded although everything else of the use case is undone: (kind, device id, data)."""

    def __init__(
        self,
        kind: ProblemType,
        detail: str,
        *,
        retry_after_s: int | None = None,
        last_seq: int | None = None,
        event: tuple[str, str | None, dict[str, object]] | None = None,
    ) -> None:
        super().__init__(detail)
        self.event = event
        self.problem = make_problem(kind, detail, retry_after_s=retry_after_s, last_seq=last_seq)


def make_problem(
    kind: ProblemType, detail: str, *, retry_after_s: int | None = None, last_seq: int | None = None
) -> Problem:
    status, title = _TITLES[kind]
    return Problem(
        type=kind.value, title=title, status=status, detail=detail, retry_after_s=retry_after_s, last_seq=last_seq
    )
