"""Asks makers' webhooks about the boxes that wait for them (docs/webhook.md).

A webhook may refuse a box or give it tags, no more. Whatever is not a clear answer leaves the box waiting and is asked
again: never refused, never admitted. The same box is asked about under the same idempotency key, across restarts too,
so that it does not matter where between question, answer and commit HQ ends.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from otscert.counting import Tally
from otscert.domain.admission import Answer
from otscert.domain.quota import Quota
from otscert.domain.webhook import (
    ADMISSION,
    NotAnAnswer,
    Question,
    WebhookAnswer,
    back_off_s,
    idempotency_key,
    moment,
    read_answer,
    signed_headers,
)
from otscert.notify.errors import NotDelivered
from otscert.notify.https import HttpAnswer
from otscert.service.context import Hq
from otscert.service.ports import Signals, Store
from otscert.service.topics import WEBHOOK
from otscert.store.errors import StoreUnavailable
from otscert.store.requests import AdmissionRequest
from otscert.store.transaction import Transaction

AT_ONCE = 4
"""Questions of one model at the same time: ten hanging webhooks hold up their own models only."""
EVENTS_OF_A_MODEL = Quota(count=100, period_s=24 * 3600)
_LOOK_AGAIN_S = 10.0
_STORE_GONE_S = 1.0
_log = logging.getLogger(__name__)


class Sender(Protocol):
    """Sends one message and returns the answer, in bounded time; raises `NotDelivered`."""

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> HttpAnswer: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """One model's webhook."""

    url: str
    secret: bytes
    sender: Sender

    async def ask(self, question: Question, *, now_s: int) -> WebhookAnswer:
        """Ask once; raises `NotDelivered` or `NotAnAnswer`."""
        body = question.body()
        headers = signed_headers(body, key=question.idempotency_key, secret=self.secret, now_s=now_s)
        answer = await self.sender.post(self.url, body, headers)
        return read_answer(answer.status, answer.body)


@dataclass(slots=True, kw_only=True)
class WebhookWorker:
    """Runs until cancelled. `webhooks` by model may change while it runs (the configuration was read again)."""

    hq: Hq
    store: Store
    signals: Signals
    webhooks: Mapping[str, Webhook]
    counts: Tally = field(default_factory=Tally)
    """How its questions ended, by model."""
    _running: dict[str, tuple[str, asyncio.Task[None]]] = field(default_factory=dict)
    """By txid: the model, and the question that is being asked."""

    async def work(self) -> None:
        """Ask what is due for ever."""
        with self.signals.listen(WEBHOOK) as heard:
            while True:
                try:
                    wait_s = min([_LOOK_AGAIN_S, *[await self._start_due(model) for model in list(self.webhooks)]])
                except StoreUnavailable as error:
                    _log.error("webhook.store_unavailable", extra={"reason": str(error)})
                    wait_s = _STORE_GONE_S
                await heard(wait_s)

    async def stop(self) -> None:
        """End the questions that are being asked; they are asked again."""
        tasks = [task for _, task in self._running.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _start_due(self, model: str) -> float:
        """Start what is due for a model and fits; returns the seconds until something else can become due."""
        now_s = self.hq.now_s()
        running = [txid for txid, (of, _) in self._running.items() if of == model]
        room = AT_ONCE - len(running)
        if room <= 0:
            return _LOOK_AGAIN_S  # the end of a running one wakes us
        due = await self.store.read(
            lambda transaction: transaction.requests.webhook_due(model, now_s=now_s, limit=AT_ONCE)
        )
        webhook = self.webhooks.get(model)
        for request in [each for each in due if each.txid not in self._running][:room]:
            if webhook is None:  # taken out of the configuration meanwhile
                break
            self._running[request.txid] = model, asyncio.create_task(self._run(request, webhook))
            running.append(request.txid)
        if len(running) >= AT_ONCE:
            return _LOOK_AGAIN_S
        next_s = await self.store.read(
            lambda transaction: transaction.requests.webhook_next_s(model, besides=tuple(running))
        )
        return _LOOK_AGAIN_S if next_s is None else max(0.05, next_s - now_s)

    async def _run(self, request: AdmissionRequest, webhook: Webhook) -> None:
        try:
            await self._ask(request, webhook)
        except StoreUnavailable as error:
            _log.warning("webhook.put_back", extra={"reason": str(error)})
            await asyncio.sleep(_STORE_GONE_S)
        finally:
            del self._running[request.txid]
            self.signals.publish(WEBHOOK)

    async def _ask(self, request: AdmissionRequest, webhook: Webhook) -> None:
        question = await self.store.read(lambda transaction: _question(transaction, request))
        try:
            answer = await webhook.ask(question, now_s=self.hq.now_s())
        except (NotDelivered, NotAnAnswer) as error:
            self.counts.count(request.model, "unreachable" if isinstance(error, NotDelivered) else "unclear")
            await self._postpone(request, str(error))
        except Exception:  # noqa: BLE001 - one poisoned question must neither stop the others nor be asked without end
            self.counts.count(request.model, "crashed")
            _log.exception("webhook.crashed", extra={"model": request.model})
            await self._postpone(request, "HQ itself failed; its log has the details")
        else:
            self.counts.count(request.model, "allowed" if answer.allowed else "denied")
            await self._decide(request, answer)

    async def _decide(self, request: AdmissionRequest, answer: WebhookAnswer) -> None:
        def write(transaction: Transaction) -> None:
            current = _still_waiting(transaction, request)
            if current is None:
                return
            said = replace(
                current,
                webhook=Answer.YES if answer.allowed else Answer.NO,
                webhook_reason=answer.reason,
                webhook_tags=answer.tags,
            )
            transaction.requests.put(said)
            if not answer.allowed:
                _note(transaction, "webhook.denied", current, answer.reason, now_s=self.hq.now_s())

        await self.store.write(write)
        _log.info("webhook.answered", extra={"model": request.model, "allowed": answer.allowed})

    async def _postpone(self, request: AdmissionRequest, reason: str) -> None:
        wait_s = back_off_s(request.webhook_attempt + 1, jitter=self.hq.jitter())
        now_s = self.hq.now_s()

        def write(transaction: Transaction) -> None:
            current = _still_waiting(transaction, request)
            if current is None:
                return
            later = replace(
                current,
                webhook_attempt=current.webhook_attempt + 1,
                webhook_reason=reason,
                webhook_next_at_s=now_s + wait_s,
            )
            transaction.requests.put(later)
            if current.webhook_attempt == 0:
                _note(transaction, "webhook.failed", current, reason, now_s=now_s)

        await self.store.write(write)
        _log.warning("webhook.failed", extra={"model": request.model, "reason": reason, "again_in_s": wait_s})


def _still_waiting(transaction: Transaction, request: AdmissionRequest) -> AdmissionRequest | None:
    current = transaction.requests.get(request.txid)
    return current if current is not None and current.webhook is Answer.WAITING else None


def _question(transaction: Transaction, request: AdmissionRequest) -> Question:
    hello = transaction.hellos.get(request.txid)
    unit = transaction.units.by_thumbprint(hello.unit) if hello is not None and hello.unit else None
    return Question(
        event=ADMISSION,
        idempotency_key=idempotency_key(request.txid),
        model=request.model,
        serial=request.serial,
        unit=unit.short_id if unit else None,
        firmware=request.firmware,
        policy=request.webhook_policy,
        address=request.address,
        fingerprint=request.fingerprint,
        asked_at=moment(request.asked_at_s),
    )


def _note(transaction: Transaction, kind: str, request: AdmissionRequest, reason: str, *, now_s: int) -> None:
    """Record what happened to a box, so many times a day for a model and no more."""
    bucket = f"event:{kind}:{request.model}"
    if transaction.quotas.spend(bucket, EVENTS_OF_A_MODEL, now_ms=now_s * 1000).allowed:
        data = {
            "reason": reason,
            "model": request.model,
            "serial": request.serial,
            "label": request.label,
            "address": request.address,
        }
        transaction.events.append(kind, now_s=now_s, data=data)
