"""An enrolment that nobody has decided yet: it is remembered, and its box is told what to show and when to ask again.

Knows pairing codes (docs/protocol.md, "Admission"): 8 base32 characters, 15 minutes, used once. Who decides is
`approval` (a person) or `webhook` (the maker's own systems).
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass, replace

from otscert.domain import pairing_code
from otscert.domain.admission import Admission, Answer, Model, Verdict, proves_itself
from otscert.domain.callers import buckets
from otscert.service.context import Hq
from otscert.service.conversation import Reply, Request
from otscert.service.ports import Seal, Signals
from otscert.service.refusal import Refusal
from otscert.service.topics import WEBHOOK
from otscert.store.hellos import HelloRow
from otscert.store.requests import AdmissionRequest
from otscert.store.transaction import Transaction
from otscert_agent.wire.messages import Enroll, Pending
from otscert_agent.wire.problems import ProblemType

CODE_LIFE_S = 15 * 60
WAITING_S = 24 * 3600
"""How long an enrolment that waits for a decision stays open after the box has last asked."""
LONGEST_S = 30 * 24 * 3600
"""After this its request is made anew, and counts among those that its address may make."""
MOST_OF_UNIT = 4
_PURPOSE = "pairing code"
_AT_FIRST_S = 1
_SOON_S = 5
_LATER_S = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    hq: Hq
    seal: Seal
    signals: Signals

    def __call__(
        self, transaction: Transaction, request: Request[Enroll], row: HelloRow, model: Model, admission: Admission
    ) -> Reply:
        """Remember the enrolment and answer `pending`; raises `Refusal` when too many of one address wait."""
        asked = transaction.requests.get(row.txid)
        if asked is None:
            if not proves_itself(admission.policy):
                _spend(transaction, request, model)
            if row.unit is not None:
                _end_oldest(transaction, row.unit)
            asked = _new_request(request, row)
        asked = replace(asked, seen_at_s=request.now_s)
        if admission.verdict is Verdict.ASK_WEBHOOK:
            return self._for_webhook(transaction, request, asked, admission)
        asked, code = self._code(transaction, replace(asked, address=request.address), now_s=request.now_s)
        transaction.requests.put(replace(asked, approval=Answer.WAITING))
        return Reply(
            message=Pending(
                reason=f"{admission.reason}: give the code {code} to whoever runs HQ",
                retry_after_s=_soon_or_later_s(asked, now_s=request.now_s),
                pairing_code=code,
            )
        )

    def _for_webhook(
        self, transaction: Transaction, request: Request[Enroll], asked: AdmissionRequest, admission: Admission
    ) -> Reply:
        after: Callable[[], None] | None = None
        if asked.webhook is Answer.NOT_ASKED:
            asked = replace(
                asked,
                webhook=Answer.WAITING,
                webhook_policy=str(admission.policy),
                webhook_next_at_s=request.now_s,
                address=request.address,  # and no other from now on: a repeated question has the same content
            )
            after = lambda: self.signals.publish(WEBHOOK)  # noqa: E731 - a two-line function for one call
        transaction.requests.put(asked)
        first = asked.webhook is Answer.WAITING and asked.webhook_attempt == 0
        wait_s = _AT_FIRST_S if first else _soon_or_later_s(asked, now_s=request.now_s)
        return Reply(message=Pending(reason=admission.reason, retry_after_s=wait_s), after=after)

    def _code(self, transaction: Transaction, asked: AdmissionRequest, *, now_s: int) -> tuple[AdmissionRequest, str]:
        """The code to show: the one of last time, or a new one when that has ended."""
        if asked.code_sealed is not None and now_s < asked.code_expires_at_s:
            return asked, self.seal.open(asked.code_sealed, purpose=_PURPOSE).decode()
        while True:
            code = pairing_code.make(self.hq.randomness(pairing_code.RANDOM_BYTES))
            code_hash = hash_code(self.hq.secret, code)
            if transaction.requests.by_code(code_hash) is None:
                break
        fresh = replace(
            asked,
            code_hash=code_hash,
            code_sealed=self.seal.close(code.encode(), purpose=_PURPOSE),
            code_expires_at_s=now_s + CODE_LIFE_S,
            last_code_hash=asked.code_hash,
        )
        return fresh, code


def _soon_or_later_s(asked: AdmissionRequest, *, now_s: int) -> int:
    """When to ask again: whoever has just switched the box on is looking at it."""
    return _SOON_S if now_s - asked.asked_at_s < CODE_LIFE_S else _LATER_S


def _spend(transaction: Transaction, request: Request[Enroll], model: Model) -> None:
    """Raise `Refusal` when too many of this address have asked for a decision lately."""
    for bucket, share in buckets(request.address):
        quota = replace(model.waiting_per_address, count=model.waiting_per_address.count * share)
        name = f"wait:address:{model.name}:{bucket}"
        decision = transaction.quotas.spend(name, quota, now_ms=request.now_s * 1000)
        if not decision.allowed:
            raise Refusal(
                ProblemType.OVER_QUOTA,
                f"{quota.count} boxes of model {model.name} at this address have asked for a decision lately",
                retry_after_s=decision.retry_after_s,
            )


def _end_oldest(transaction: Transaction, unit: str) -> None:
    """A unit is one box: whoever has its factory key may not let enrolments wait without end."""
    for txid in transaction.requests.oldest_of_unit(unit, besides=MOST_OF_UNIT - 1):
        transaction.requests.end(txid)
        transaction.hellos.end(txid)


def _new_request(request: Request[Enroll], row: HelloRow) -> AdmissionRequest:
    return AdmissionRequest(
        txid=row.txid,
        thumbprint=request.thumbprint,
        model=row.model,
        serial=row.serial,
        firmware=row.firmware,
        fingerprint=row.fingerprint,
        label=row.label,
        address=request.address,
        asked_at_s=request.now_s,
        seen_at_s=request.now_s,
        approval=Answer.NOT_ASKED,
        decided_by="",
        code_hash=None,
        code_sealed=None,
        code_expires_at_s=0,
        last_code_hash=None,
        webhook=Answer.NOT_ASKED,
        webhook_policy="",
        webhook_reason="",
        webhook_tags=(),
        webhook_attempt=0,
        webhook_next_at_s=0,
    )


def hash_code(secret: bytes, code: str) -> bytes:
    """What the store knows of a pairing code: 40 bits need a key that a stolen database does not hold."""
    return hmac.digest(secret, b"pairing\x00" + code.encode(), "sha256")
