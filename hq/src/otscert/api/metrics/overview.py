"""What the store holds, counted seldom enough that nobody feels it: one count at a time, kept for a while.

Counting is spread by what it costs: the next one comes no sooner than 30 times as long as the last one took.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeVar

from otscert.api.metrics import of_alerts
from otscert.api.metrics.of_alerts import Telling
from otscert.service.budget_levels import SharedLevel
from otscert.store.statistics import DAY_S, DeviceGroup, DueGroup, Waiting
from otscert.store.transaction import Transaction

T = TypeVar("T")
LEAST_AGE_S = 5.0
SHARE = 30
WITHIN_DAYS = (1, 3, 7, 14, 30)
SILENT_DAYS = (1, 7, 30)
CHECKINS_MISSED = 4
"""A box that has missed so many check-ins does not call."""


class Budget(Protocol):
    """Looks at the limits that boxes share."""

    def __call__(self, transaction: Transaction, /, *, now_ms: int) -> Sequence[SharedLevel]: ...


def _no_budget(_: Transaction, *, now_ms: int) -> Sequence[SharedLevel]:  # noqa: ARG001
    return ()


class Surveys(Protocol):
    """Looks over the store beside the loop; raises `StoreUnavailable`."""

    async def survey(self, work: Callable[[Transaction], T]) -> T: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """The store at one moment."""

    at_s: int
    devices: Sequence[DeviceGroup]
    silent: Mapping[int, int]
    """By days of silence."""
    unserved: int
    certificates: Mapping[str, int]
    ending: Mapping[int, int]
    """By days within which the newest certificates of boxes end."""
    due: Sequence[DueGroup]
    orders: Mapping[str, Waiting]
    due_since_s: int | None
    """When the first unfinished order fell due."""
    persons: Waiting
    webhooks: int
    revocations: Waiting
    last_issued: Mapping[str, int]
    took_s: float
    telling: Telling = field(default_factory=Telling)
    budget: Sequence[SharedLevel] = ()


@dataclass(slots=True, kw_only=True)
class Overviews:
    """The newest overview, and the events of the store since number `events_after`, where HQ started."""

    store: Surveys
    checkin_s: int
    events_after: int
    channels: Collection[str] = ()
    """Those through which people are told; may change while it is used."""
    budget: Budget = _no_budget
    """What is left of the CAs' limits, at a moment in Unix ms."""
    least_age_s: float = LEAST_AGE_S
    _newest: Overview | None = None
    _made_s: float = 0.0
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    _events: Counter[str] = field(default_factory=Counter)

    async def newest(self, *, now_s: int) -> Overview:
        """The overview that there is, or a new one when that has become too old; raises `StoreUnavailable`."""
        async with self._lock:
            if self._newest is None or self._is_old(self._newest):
                overview, self.events_after, events = await self.store.survey(
                    lambda transaction: self._look(transaction, now_s=now_s)
                )
                self._newest, self._made_s = overview, time.monotonic()
                self._events.update(events)
                return overview
            return self._newest

    def events(self) -> Mapping[str, int]:
        return dict(self._events)

    def _is_old(self, overview: Overview) -> bool:
        return time.monotonic() - self._made_s >= max(self.least_age_s, SHARE * overview.took_s)

    def _look(self, transaction: Transaction, *, now_s: int) -> tuple[Overview, int, Mapping[str, int]]:
        began_s = time.monotonic()
        last_event = transaction.statistics.last_event()
        events = transaction.statistics.events(after_id=self.events_after, until_id=last_event)
        overview = look(transaction, now_s=now_s, checkin_s=self.checkin_s, began_s=began_s, channels=self.channels)
        overview = replace(overview, budget=self.budget(transaction, now_ms=now_s * 1000))
        return replace(overview, took_s=time.monotonic() - began_s), last_event, events


def look(
    transaction: Transaction, *, now_s: int, checkin_s: int, began_s: float, channels: Collection[str] = ()
) -> Overview:
    statistics = transaction.statistics
    calling_since_s = now_s - max(DAY_S, CHECKINS_MISSED * checkin_s)
    certificates = statistics.certificates(now_s=now_s)
    return Overview(
        at_s=now_s,
        devices=statistics.devices(),
        silent={days: statistics.silent(seen_before_s=now_s - days * DAY_S) for days in SILENT_DAYS},
        unserved=statistics.unserved(),
        certificates={
            word: certificates.get(replaced, 0) for replaced, word in ((False, "current"), (True, "replaced"))
        },
        ending={days: statistics.ending(now_s=now_s, within_s=days * DAY_S) for days in WITHIN_DAYS},
        due=statistics.due(now_s=now_s, calling_since_s=calling_since_s),
        orders=statistics.orders(),
        due_since_s=transaction.orders.oldest_due_s(),
        persons=statistics.asked_persons(),
        webhooks=statistics.asked_webhooks(),
        revocations=statistics.revocations(),
        last_issued=statistics.last_issued(),
        telling=of_alerts.look(transaction, channels),
        took_s=time.monotonic() - began_s,
    )
