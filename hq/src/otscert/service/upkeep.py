"""What becomes of recalls and of waiting orders while time goes by; found by index, done in bounded steps.

Marks are taken away whose certificate has been replaced, has ended, or whose incident has; an incident that waits for
nothing ends by itself. Orders that wait for their turn while the certificate nears its end go before others.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from enum import Enum
from functools import partial

from otscert.domain.budget import Rank
from otscert.service import incidents
from otscert.service.context import Hq
from otscert.service.ports import Signals, Store
from otscert.service.topics import DUE
from otscert.store.errors import StoreUnavailable
from otscert.store.incidents import Incident, Marked
from otscert.store.transaction import Transaction

EVERY_S = 10.0
AT_ONCE = 200
_BEGINNING = ("", "")
_LOOK_BACK_S = 90 * 24 * 3600
"""After a start: nobody waits for longer with a certificate that is late."""
_log = logging.getLogger(__name__)


class _Fate(Enum):
    STAYS = "it is still to be replaced"
    REPLACED = "its box serves a newer one"
    RELEASED = "it has ended, or its box has"
    FORGOTTEN = "its incident has ended"


@dataclass(slots=True, kw_only=True)
class Upkeep:
    """One for a process that works; several of them do nothing twice."""

    hq: Hq
    store: Store
    signals: Signals
    _places: dict[str, tuple[str, str]] = field(default_factory=dict)
    """How far each incident's marks were looked at in this round."""
    _late: tuple[int, str] | None = None

    async def work(self) -> None:
        """Look for ever."""
        while True:
            try:
                await self.once()
            except StoreUnavailable as error:
                _log.warning("upkeep.postponed", extra={"reason": str(error)})
            await asyncio.sleep(EVERY_S)

    async def once(self) -> None:
        """Look at the next part of each incident's marks, and at all orders that have become urgent since."""
        for incident_id in await self.store.read(_ids):
            await self._tidy(incident_id)
        while await self.raise_late():
            pass

    async def _tidy(self, incident_id: str) -> None:
        place = self._places.get(incident_id, _BEGINNING)
        tidy = partial(_tidy, incident_id=incident_id, place=place, now_s=self.hq.now_s())
        # Most looks at an incident that waits for boxes find nothing: they are not worth a commit.
        page = await self.store.read(partial(_look, incident_id=incident_id, place=place, now_s=self.hq.now_s()))
        if page.to_do:
            await self.store.write(tidy)
        if page.following is None:
            self._places.pop(incident_id, None)
        else:
            self._places[incident_id] = page.following

    async def raise_late(self) -> bool:
        """Let the next orders go first whose certificate has come to be late; False when there were no more."""
        now_s = self.hq.now_s()
        if self._late is None or self._late[0] > now_s:  # HQ's clock was set back: look again
            self._late = (now_s - _LOOK_BACK_S, "")
        late = await self.store.read(partial(_waiting_late, after=self._late, until_s=now_s))
        if late.devices:
            raised = await self.store.write(partial(_raise, devices=late.devices))
            if raised:
                _log.info("orders.raised", extra={"count": raised})
                self.signals.publish(DUE)
        self._late = late.place
        return late.more


@dataclass(frozen=True, slots=True, kw_only=True)
class _Late:
    devices: tuple[str, ...]
    place: tuple[int, str]
    more: bool


def _waiting_late(transaction: Transaction, *, after: tuple[int, str], until_s: int) -> _Late:
    rows = transaction.certificates.came_late(after=after, until_s=until_s, limit=AT_ONCE)
    devices = tuple(device_id for _, device_id in rows if transaction.orders.unfinished(device_id))
    return _Late(devices=devices, place=rows[-1] if rows else after, more=len(rows) == AT_ONCE)


def _raise(transaction: Transaction, *, devices: tuple[str, ...]) -> int:
    return sum(transaction.orders.raise_rank(device_id, Rank.EXPIRING) for device_id in devices)


def _ids(transaction: Transaction) -> list[str]:
    running = {incident.id for incident in transaction.incidents.running()}
    return sorted(running.union(transaction.incidents.with_marks()))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Page:
    incident: Incident | None
    fates: tuple[tuple[Marked, _Fate], ...]
    """What becomes of each marked certificate of this part."""
    following: tuple[str, str] | None
    """Where to go on; None at the end."""
    over: bool
    """Nothing is marked any more, and all of the fleet was looked through."""

    @property
    def to_do(self) -> bool:
        return self.over or any(fate is not _Fate.STAYS for _, fate in self.fates)


def _look(transaction: Transaction, *, incident_id: str, place: tuple[str, str], now_s: int) -> _Page:
    incident = transaction.incidents.get(incident_id)
    marked = transaction.incidents.marked(incident_id, after=place, limit=AT_ONCE)
    running = incident is not None and incident.ended_s is None and incident.marked_s is not None
    return _Page(
        incident=incident,
        fates=tuple((each, _fate(incident, each, now_s=now_s)) for each in marked),
        following=(marked[-1].device_id, marked[-1].sha256) if len(marked) == AT_ONCE else None,
        over=running and not transaction.incidents.marked(incident_id, after=_BEGINNING, limit=1),
    )


def _fate(incident: Incident | None, marked: Marked, *, now_s: int) -> _Fate:
    if incident is None or incident.ended_s is not None:
        return _Fate.FORGOTTEN
    if marked.over or marked.not_after_s <= now_s:
        return _Fate.RELEASED
    return _Fate.REPLACED if marked.replaced else _Fate.STAYS


def _tidy(transaction: Transaction, *, incident_id: str, place: tuple[str, str], now_s: int) -> None:
    """Take marks away that mean nothing any more, and end the incident after the last one."""
    page = _look(transaction, incident_id=incident_id, place=place, now_s=now_s)
    for marked, fate in page.fates:
        match fate:
            case _Fate.FORGOTTEN:
                transaction.incidents.forget_mark(marked.sha256)
            case _Fate.REPLACED:
                transaction.incidents.replaced(marked.sha256, incident_id)
            case _Fate.RELEASED:
                transaction.incidents.released(marked.sha256, incident_id)
            case _Fate.STAYS:
                continue
        reason = page.incident.revoke_reason if page.incident is not None else None
        if fate is not _Fate.FORGOTTEN and reason is not None and marked.not_after_s > now_s:
            transaction.revocations.ask(marked.sha256, reason=reason, now_s=now_s)
    if _look(transaction, incident_id=incident_id, place=place, now_s=now_s).over:
        incidents.end(transaction, incident_id, now_s=now_s, by_itself=True)
