"""Keeps the zone of one name server elsewhere as the store has it: what changed is sent as updates (RFC 2136).

Follows the changes of `store.zone_changes` from the number that the store keeps for this server. A label is sent
wholly, as the store has it by then, so sending it again does no harm: a kill between the server's answer and our note
of it only repeats it. Knows no messages and no keys; does not know where challenges stand (the sheet does).
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from otscert.counting import Tally
from otscert.domain.admission import Model
from otscert.service.ports import Signals, Store
from otscert.service.topics import ZONE
from otscert.service.zone_following import SheetZone, take_up
from otscert.service.zone_sending import TakesUpdates, ZoneSender
from otscert.store.errors import StoreUnavailable
from otscert.store.transaction import Transaction
from otscert.store.zone_changes import TOP, LabelContent
from otscert.zones.errors import LabelError, RecordError, UpdateError, ZoneError
from otscert.zones.update import Change

LOOK_S = 1.0
AT_ONCE = 500
PACE_S = 0.1
"""After an update the next one waits so long, so that many boxes need few updates; the first never waits."""
_FIRST_REST_S = 1.0
_LONGEST_REST_S = 30.0
_PROGRESS_EVERY = 20_000
_log = logging.getLogger(__name__)


class UpdateSheet(SheetZone, Protocol):
    """A zone that holds one label at a time, and says how a server elsewhere is to be changed for it."""

    def take_off(self, label: str) -> Change: ...

    def top(self, caa: Sequence[str]) -> Change: ...


@dataclass(slots=True, kw_only=True)
class _Whole:
    """All labels are being sent: those up to `label` were, and of the changes those up to `number`."""

    number: int
    label: str = ""
    sent: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """What one look has found. `top` says whether `caa` changed; `last` when no label is left to be sent."""

    place: int | None
    number: int
    contents: Sequence[LabelContent]
    caa: Sequence[str]
    top: bool
    aside: Mapping[str, int]
    """The refused names that the store keeps for this server."""
    label: str
    full: bool
    last: bool

    @property
    def is_empty(self) -> bool:
        return not self.contents and not self.top


@dataclass(slots=True, kw_only=True)
class ZonePusher:
    """For one server. `models` may change while it runs; what they publish is compared at every look.

    `extent` says in words which zone and which way of challenges this is: another one is sent wholly.
    """

    models: Mapping[str, Model]
    issuers: Collection[str]
    store: Store
    signals: Signals
    sheet: UpdateSheet
    server: TakesUpdates
    extent: str
    updates: Tally
    pace_s: float = PACE_S
    at_once: int = AT_ONCE
    now_s: Callable[[], float] = time.monotonic
    trouble: str = ""
    """Why the server takes nothing now; empty when all is well."""
    _whole: _Whole | None = None
    _left_out: set[str] = field(default_factory=set)
    _sender: ZoneSender | None = None

    @property
    def _place(self) -> str:
        return f"pushed {self.server.shown}"

    def _aside_place(self, label: str) -> str:
        return f"{self._place}: refused {label}"

    async def work(self) -> None:
        """Keep up until cancelled."""
        rest_s = _FIRST_REST_S
        # Another process may have led meanwhile: what is known of the server is in the store.
        self._whole = self._sender = None
        with self.signals.listen(ZONE) as heard:
            while True:
                try:
                    moved = await self.step()
                except StoreUnavailable as error:
                    _log.warning("zone.not_followed", extra={"reason": str(error)})
                    moved = None
                except UpdateError as error:
                    self._failed(error)
                    # Not woken by what happens meanwhile: a server that refuses is not asked again for every box.
                    await asyncio.sleep(rest_s)
                    rest_s = min(2 * rest_s, _LONGEST_REST_S)
                    continue
                rest_s = _FIRST_REST_S
                if moved is not None:
                    await asyncio.sleep(0 if moved == self.at_once else self.pace_s)
                else:
                    await heard(LOOK_S)

    async def step(self) -> int | None:
        """Send what has changed, as far as it goes in one step; returns how many labels, None when there was nothing.

        Raises:
            UpdateError: the server did not take it; the next step sends it again.
            StoreUnavailable: nothing was sent, or it was and is sent again.
        """
        shape, whole = self._shape(), self._whole
        due = self._sender.due() if self._sender is not None else []
        seen = await self.store.read(lambda transaction: self._look(transaction, whole, shape, due))
        if seen is None:
            self._whole = await self.store.write(_begin)
            _log.warning("zone.pushing_all", extra={"server": self.server.shown, "sent": 0})
            return 0
        sender = self._sender
        if sender is None:
            sender = self._sender = ZoneSender(server=self.server, updates=self.updates, now_s=self.now_s)
            sender.remember(seen.aside)
        changes = self._changes(seen)
        sender.forget(each.label for each in seen.contents if each.label not in changes)
        if changes:
            await sender.send(changes, top=self._top(seen.caa))
            self._taken()
        if not seen.is_empty or seen.last or sender.aside != seen.aside:
            await self._note(seen, shape)
        return None if not changes and self._whole is None else (self.at_once if seen.full else len(changes))

    def _changes(self, seen: _Seen) -> dict[str, Change]:
        """What to send, by name."""
        changes = {each.label: change for each in seen.contents if (change := self._change(each)) is not None}
        if seen.top and (top := self._top(seen.caa)) is not None:
            changes[TOP] = top
        return changes

    def _look(self, transaction: Transaction, whole: _Whole | None, shape: int, due: Sequence[str]) -> _Seen | None:
        """What is to be sent next; None when nobody knows what the server has, so that all has to be."""
        changes = transaction.zone_changes
        place = transaction.zone_places.get(self._place)
        if whole is None and (place is None or transaction.zone_places.get(f"{self._place}: extent") != shape):
            return None
        number = place if whole is None else whole.number
        if number is None or not changes.is_known(number):
            return None
        rows = changes.after(number, limit=self.at_once)
        labels = dict.fromkeys(label for _, label in rows if label != TOP)
        top = any(label == TOP for _, label in rows) or (whole is not None and not whole.sent) or TOP in due
        again = [label for label in due if label != TOP]
        room = self.at_once - len(rows)
        others = transaction.devices.labels(after=whole.label, limit=room) if whole is not None and room else []
        return _Seen(
            place=place,
            number=rows[-1][0] if rows else number,
            contents=[changes.content(label) for label in dict.fromkeys([*labels, *others, *again])],
            caa=transaction.caa.of(self.issuers),
            top=top,
            aside=transaction.zone_places.those(self._aside_place("")),
            label=others[-1] if others else (whole.label if whole is not None else ""),
            full=len(rows) + len(others) == self.at_once,
            last=whole is not None and bool(room) and len(others) < room,
        )

    def _change(self, content: LabelContent) -> Change | None:
        """What to send for a label; None for one that cannot be written into the zone at all."""
        try:
            take_up(self.sheet, self.models, content)
            return self.sheet.take_off(content.label)
        except (LabelError, RecordError) as error:
            self._leave_out(content.label, error)
            return None

    def _top(self, caa: Sequence[str]) -> Change | None:
        """The zone's top; None when a value of it cannot be written at all."""
        try:
            return self.sheet.top(caa)
        except RecordError as error:
            self._leave_out(TOP, error)
            return None

    def _leave_out(self, label: str, error: ZoneError) -> None:
        if label not in self._left_out:
            self._left_out.add(label)
            _log.error("zone.label_left_out", extra={"label": label, "reason": str(error)})

    async def _note(self, seen: _Seen, shape: int) -> None:
        """Keep how far the server has come: in memory while all is being sent, else in the store."""
        whole = self._whole
        if whole is not None and not seen.last:
            if (whole.sent + len(seen.contents)) // _PROGRESS_EVERY > whole.sent // _PROGRESS_EVERY:
                sent = whole.sent + len(seen.contents)
                _log.info("zone.pushing_all", extra={"server": self.server.shown, "sent": sent})
            whole.number, whole.label = seen.number, seen.label
            whole.sent += len(seen.contents)
            return

        aside = self._sender.aside if self._sender is not None else {}

        def note(transaction: Transaction) -> None:
            places = transaction.zone_places
            now = places.get(self._place)
            # Another process that took this duty over has sent newer content since, and we older after it, perhaps:
            # from where we began all is sent again.
            known = seen.number if now == seen.place else min(now or 0, seen.place or 0)
            places.put(self._place, known)
            places.put(f"{self._place}: extent", shape)
            # With the place that goes beyond them, so that a kill forgets none.
            for label in seen.aside.keys() - aside.keys():
                places.drop(self._aside_place(label))
            for label, refused in sorted(aside.items()):
                if seen.aside.get(label) != refused:
                    places.put(self._aside_place(label), refused)

        await self.store.write(note)
        if whole is not None:
            sent = whole.sent + len(seen.contents)
            _log.info("zone.pushed_all", extra={"server": self.server.shown, "sent": sent})
            self._whole = None

    def _shape(self) -> int:
        """A number for what models publish and where challenges stand: when it is another, all is sent anew."""
        words = repr((self.extent, sorted((name, _published(model)) for name, model in self.models.items())))
        return int.from_bytes(hashlib.sha256(words.encode()).digest()[:7])

    def _taken(self) -> None:
        if self.trouble:
            _log.info("zone.updates_taken", extra={"server": self.server.shown})
        self.trouble = ""

    def _failed(self, error: UpdateError) -> None:
        if str(error) != self.trouble:
            _log.error("zone.updates_not_taken", extra={"server": self.server.shown, "reason": str(error)})
        self.trouble = str(error)


def _begin(transaction: Transaction) -> _Whole:
    """Begin to send all; with a change of its own, so that there is one that is known by its number."""
    transaction.zone_changes.note(TOP)
    return _Whole(number=transaction.zone_changes.last())


def _published(model: Model) -> str:
    return repr((model.addresses, model.static_address, model.computed_names, model.global_ipv6, model.https_record))
