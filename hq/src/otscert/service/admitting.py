"""Is this box let in? Gathers the evidence, asks the pure judge, spends the quotas, and answers those who wait.

Knows tokens, units and the requests that wait for a person or a webhook. Does not make devices: that is `enroll`.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, replace

from otscert.domain.admission import Admission, Answer, Evidence, Model, Policy, Verdict, judge_admission
from otscert.domain.callers import buckets
from otscert.domain.quota import Quota
from otscert.service.context import Hq
from otscert.service.conversation import Reply, Request
from otscert.service.refusal import Refusal
from otscert.service.waiting import Waiting
from otscert.store.hellos import HelloRow
from otscert.store.requests import AdmissionRequest
from otscert.store.transaction import Transaction
from otscert_agent.wire import b64, kdf
from otscert_agent.wire.errors import WireError
from otscert_agent.wire.messages import TXID_BYTES, Enroll, Refused
from otscert_agent.wire.problems import ProblemType

_ASK_AGAIN_S = 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    policy: str
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitting:
    hq: Hq
    waiting: Waiting

    def __call__(
        self, transaction: Transaction, request: Request[Enroll], row: HelloRow, model: Model
    ) -> Admitted | Reply:
        """Admit, or answer `pending` or `refused`; raises `Refusal` for a used-up quota or an unreadable proof."""
        asked = transaction.requests.get(row.txid)
        token = self._token_bucket(request, model)
        admission = judge_admission(
            model,
            Evidence(
                stamped=row.unit is not None,
                token_valid=None if request.message.token_proof is None else token is not None,
                approval=asked.approval if asked else Answer.NOT_ASKED,
                webhook=asked.webhook if asked else Answer.NOT_ASKED,
            ),
        )
        if admission.verdict in {Verdict.ASK_PERSON, Verdict.ASK_WEBHOOK}:
            return self.waiting(transaction, request, row, model, admission)
        if admission.verdict is Verdict.REFUSE:
            # A decision stays on record: the box that lost this answer is told the same again.
            return Reply(message=self._refused(admission, asked))
        if asked is not None:
            transaction.requests.end(row.txid)
        self._spend(transaction, request, model, admission, token)
        return Admitted(policy=str(admission.policy), tags=asked.webhook_tags if asked else ())

    def _refused(self, admission: Admission, asked: AdmissionRequest | None) -> Refused:
        reason = admission.reason
        if asked is not None and asked.webhook is Answer.NO and asked.webhook_reason:
            reason = f"{reason}: {asked.webhook_reason}"
        return Refused(reason=reason, final=admission.final, retry_after_s=_ASK_AGAIN_S)

    def _token_bucket(self, request: Request[Enroll], model: Model) -> str | None:
        """A name for the valid token (for its quota), None when the proof fits no token of the model."""
        try:
            proof = b64.decode(request.message.token_proof or "", what="token_proof")
            txid = b64.decode(request.message.txid, length=TXID_BYTES, what="txid")
        except WireError as error:
            raise Refusal(ProblemType.BAD_TOKEN, str(error)) from error
        found = None
        for token in self.hq.tokens.get(model.name, ()):
            # Every token is tried, so that time tells nothing about which one fits.
            if hmac.compare_digest(kdf.token_proof(token, txid, request.thumbprint), proof):
                # Keyed: the bucket's name must not help to guess a short token from a stolen database.
                found = hmac.digest(self.hq.secret, b"token\x00" + token, "sha256").hex()[:32]
        return found

    def _spend(
        self,
        transaction: Transaction,
        request: Request[Enroll],
        model: Model,
        admission: Admission,
        token: str | None,
    ) -> None:
        """Charge those who were let in without a proof of their own: everybody with the same token, or everybody."""
        if admission.policy not in {Policy.OPEN, Policy.TOKEN}:
            return
        of_address = model.admissions_per_address
        charged: list[tuple[str, Quota]] = [
            (f"admit:address:{model.name}:{bucket}", replace(of_address, count=of_address.count * share))
            for bucket, share in buckets(request.address)
        ]
        charged.append((f"admit:model:{model.name}", model.admissions_per_model))
        if admission.policy is Policy.TOKEN:
            charged.append((f"admit:token:{token}", model.admissions_per_token))
        else:
            charged.append(("admit:open", self.hq.open_admissions))
        for bucket, quota in charged:
            decision = transaction.quotas.spend(bucket, quota, now_ms=request.now_s * 1000)
            if not decision.allowed:
                raise Refusal(
                    ProblemType.OVER_QUOTA,
                    f"policy {admission.policy} of model {model.name} admits {quota.count} boxes in {quota.period_s} s",
                    retry_after_s=decision.retry_after_s,
                )
