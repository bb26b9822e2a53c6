"""Looks every minute at how HQ is, and hands what is news to the outbox.

What was known, what is known now and the messages about it are one transaction: a kill loses no message and makes none
twice. Several processes may look: one of them takes each turn. It sends nothing itself: `alert_sending` does.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from otscert.domain.alert_digest import Numbers, digest, due_digest_s
from otscert.domain.alert_facts import Facts
from otscert.domain.alert_message import Message, news_message
from otscert.domain.alert_news import Change, News, reconcile
from otscert.domain.alert_rules import holding
from otscert.domain.alerts import DAY_S, HOUR_S, MINUTE_S, Kind
from otscert.service.alert_facts import Watched, gather, numbers
from otscert.service.context import Hq
from otscert.service.ports import Signals, Store
from otscert.service.topics import OUTBOX
from otscert.store.errors import StoreUnavailable
from otscert.store.outbox import Posted
from otscert.store.transaction import Transaction

T = TypeVar("T")
EVERY_S = 60
SHARE = 30
"""Looking takes at most this part of the time, however large the store is."""
GAP_S = 15 * MINUTE_S
"""When nobody has looked for so long, HQ was down, and boxes could not be heard."""
ALERT_KEPT_S, DIGEST_KEPT_S = 3 * DAY_S, 20 * HOUR_S
"""How long a message is tried: a digest until shortly before the next one."""
REMEMBERED_S = 30 * DAY_S
LOOKED, HEARD, DIGEST = "looked", "heard", "digest"
_AT_ONCE = 200
_log = logging.getLogger(__name__)


class SurveyedStore(Store, Protocol):
    """The store; `survey` runs what may take seconds on what is committed, beside the loop."""

    async def survey(self, work: Callable[[Transaction], T]) -> T: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """This process looks now. `digest_s`: the moment whose digest is to be sent; None: none is."""

    now_s: int
    heard_s: int
    digest_s: int | None


@dataclass(slots=True, kw_only=True)
class Alerting:
    """`channels` are the names of those that are told, and may change while it runs; so may `digest_at_s`."""

    hq: Hq
    store: SurveyedStore
    signals: Signals
    watched: Watched
    channels: Mapping[str, Any]
    digest_at_s: Callable[[], int | None]
    """Seconds since midnight UTC; None: there is no digest."""

    async def work(self) -> None:
        """Look for ever. Whatever goes wrong here must not end HQ."""
        while True:
            began_s = time.monotonic()
            try:
                await self.look()
            except StoreUnavailable as error:
                _log.warning("alerting.postponed", extra={"reason": str(error)})
            except Exception:  # noqa: BLE001 - logged; boxes are served all the same
                _log.exception("alerting.failed", extra={"hint": "boxes are served; nobody is told what is wrong"})
            await asyncio.sleep(max(EVERY_S, SHARE * (time.monotonic() - began_s)))

    async def look(self) -> bool:
        """Look once; False when another process has just done so."""
        turn = await self.store.write(self._take_turn)
        if turn is None:
            return False
        names = sorted(self.channels)

        def ask(transaction: Transaction) -> tuple[Facts, Numbers | None]:
            facts = gather(transaction, self.watched, channels=names, heard_s=turn.heard_s, now_s=turn.now_s)
            if turn.digest_s is None:
                return facts, None
            return facts, numbers(transaction, self.watched, channels=names, now_s=turn.now_s)

        facts, counted = await self.store.survey(ask)
        news = await self.store.write(lambda transaction: self._settle(transaction, turn, facts, counted, names))
        for each in news:
            alert = each.known.alert
            _log.warning(
                f"alert.{'over' if each.change is Change.OVER else 'told'}",
                extra={"kind": alert.kind, "about": alert.subject, "change": each.change.value, "what": alert.what},
            )
        self.signals.publish(OUTBOX)
        return True

    def _take_turn(self, transaction: Transaction) -> Turn | None:
        now_s = self.hq.now_s()
        looked_s = transaction.alerts.done_s(LOOKED)
        if looked_s is not None and 0 <= now_s - looked_s < EVERY_S - 5:
            return None
        if not transaction.alerts.set_done(LOOKED, seen_s=looked_s, at_s=now_s):
            return None
        heard_s = transaction.alerts.done_s(HEARD)
        if heard_s is None or looked_s is None or now_s - looked_s > GAP_S or now_s < heard_s:
            transaction.alerts.set_done(HEARD, seen_s=heard_s, at_s=now_s)
            heard_s = now_s
        return Turn(now_s=now_s, heard_s=heard_s, digest_s=self._due_digest_s(transaction, now_s=now_s))

    def _due_digest_s(self, transaction: Transaction, *, now_s: int) -> int | None:
        at_s = self.digest_at_s()
        if at_s is None:
            return None
        last_s = transaction.alerts.done_s(DIGEST)
        if last_s is None:  # switched on just now: the first one comes at its next time
            transaction.alerts.set_done(DIGEST, seen_s=None, at_s=now_s)
        return due_digest_s(at_s=at_s, last_s=last_s, now_s=now_s)

    def _settle(
        self, transaction: Transaction, turn: Turn, facts: Facts, counted: Numbers | None, names: Sequence[str]
    ) -> Sequence[News]:
        now_s = turn.now_s
        outcome = reconcile(transaction.alerts.all(), holding(facts, now_s=now_s), now_s=now_s)
        for row in outcome.put:
            transaction.alerts.put(row)
        for kind, subject in outcome.forget:
            transaction.alerts.forget(kind, subject)
        for news in outcome.news:
            _record(transaction, news, now_s=now_s)
        _give_up(transaction, now_s=now_s)
        transaction.outbox.sweep(before_s=now_s - REMEMBERED_S)
        for channel in names:
            told = [news for news in outcome.news if not _about(channel, news)]
            if told:
                self._post(transaction, channel, self._news(told, now_s=now_s), kept_s=ALERT_KEPT_S)
            if counted is not None:
                message = self._digest(transaction, counted, now_s=now_s)
                self._post(transaction, channel, message, kept_s=DIGEST_KEPT_S)
        if turn.digest_s is not None:
            transaction.alerts.set_done(DIGEST, seen_s=transaction.alerts.done_s(DIGEST), at_s=turn.digest_s)
        return outcome.news

    def _news(self, news: Sequence[News], *, now_s: int) -> Message:
        return news_message(news, hq=self.hq.zone, url=self.hq.public_url, message_id=self._new_id(), now_s=now_s)

    def _digest(self, transaction: Transaction, counted: Numbers, *, now_s: int) -> Message:
        known = transaction.alerts.all()
        return digest(known, counted, hq=self.hq.zone, url=self.hq.public_url, message_id=self._new_id(), now_s=now_s)

    def _new_id(self) -> str:
        return self.hq.randomness(12).hex()

    def _post(self, transaction: Transaction, channel: str, message: Message, *, kept_s: int) -> None:
        now_s = message.at_s
        transaction.outbox.add(
            Posted(
                id=message.id,
                channel=channel,
                message=message.body().decode(),
                created_s=now_s,
                until_s=now_s + kept_s,
                next_at_s=now_s,
            )
        )


def _about(channel: str, news: News) -> bool:
    """Whether it would tell a channel that this very channel fails."""
    alert = news.known.alert
    return alert.kind == Kind.CHANNEL_FAILS and alert.subject == channel


def _record(transaction: Transaction, news: News, *, now_s: int) -> None:
    alert = news.known.alert
    data = {"kind": alert.kind, "about": alert.subject, "severity": alert.severity.value, "what": alert.what}
    if news.change is Change.OVER:
        transaction.events.append("alert.over", now_s=now_s, data=data)
    elif news.change is not Change.STILL:
        transaction.events.append("alert.opened", now_s=now_s, data={**data, "change": news.change.value})


def _give_up(transaction: Transaction, *, now_s: int) -> None:
    for posted in transaction.outbox.overdue(now_s=now_s, limit=_AT_ONCE):
        problem = posted.problem or "the channel is not configured any more, or HQ did not run"
        transaction.outbox.give_up(posted.id, problem=problem, now_s=now_s)
        data = {"channel": posted.channel, "tries": posted.attempt, "problem": problem}
        transaction.events.append("alert.undelivered", now_s=now_s, data=data)
