"""The zone of a process that shares its store: filled from rows alone, whichever process wrote them.

Who changes a device or a challenge notes its label in the same transaction (`store.zone_changes`). The process that
answers DNS reads what the label has now and gives that to its zone: when it is told (`ZONE`), and every second anyway.
So it does not matter who wrote it, in which order it is read, or how often.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from otscert.domain.addresses import AddressPolicy, IPAddress, Verdict
from otscert.domain.admission import Model
from otscert.service.ports import Signals, Store
from otscert.service.publish import published_addresses, shown
from otscert.service.topics import ZONE
from otscert.service.zone_serial import raised_base
from otscert.store.errors import StoreUnavailable
from otscert.store.transaction import Transaction
from otscert.store.zone_changes import TOP, LabelContent
from otscert.store.zone_places import SERIAL_BASE

LOOK_S = 1.0
AT_ONCE = 500
_log = logging.getLogger(__name__)
Row = tuple[str, str, str, int | None]
"""Label, model, addresses as the store has them, and since when the box serves its newest certificate."""


class SheetZone(Protocol):
    """What holds the content of labels, one by one."""

    def activate(self, label: str, addresses: Sequence[IPAddress], policy: AddressPolicy) -> tuple[Verdict, ...]: ...

    def withdraw(self, label: str) -> None: ...

    def set_txt(self, label: str, values: Iterable[str]) -> None: ...


class FollowedZone(Protocol):
    """A zone whose content is exchanged label by label. Every call holds from when it returns."""

    def activate(self, label: str, addresses: Sequence[IPAddress], policy: AddressPolicy) -> tuple[Verdict, ...]: ...

    def withdraw(self, label: str) -> None: ...

    def set_txt(self, label: str, values: Iterable[str]) -> None: ...

    def set_caa(self, values: Sequence[str]) -> None: ...

    def set_persist(self, values: Sequence[str]) -> None: ...

    def load(
        self, boxes: Iterable[tuple[str, Sequence[IPAddress] | str, AddressPolicy]], txt: Iterable[tuple[str, str]]
    ) -> tuple[Verdict, ...]: ...


class NumberedZone(FollowedZone, Protocol):
    """One that shows the serial that it is given, and tells secondaries what changed from one to the next."""

    def number(self, serial: int) -> None: ...

    def forget_changes(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ZoneElsewhere:
    """The zone as the use cases change it where rows fill it: says only that something changed, and judges addresses.

    What it is told was committed before, so the rows are all that counts.
    """

    signals: Signals

    def activate(self, _label: str, addresses: Sequence[IPAddress], policy: AddressPolicy) -> tuple[Verdict, ...]:
        self.signals.publish(ZONE)
        return tuple(policy.judge(address) for address in addresses if not policy.publishes(address))

    def withdraw(self, _label: str) -> None:
        self.signals.publish(ZONE)

    def put_txt(self, _label: str, _value: str) -> None:
        self.signals.publish(ZONE)

    def drop_txt(self, _label: str, _value: str) -> None:
        self.signals.publish(ZONE)


@dataclass(slots=True, kw_only=True)
class ZoneFollower:
    """`models` may change while it runs; call `load` then. `issuers` are those whose CAA records stand."""

    models: Mapping[str, Model]
    issuers: Collection[str]
    store: Store
    signals: Signals
    zone: NumberedZone
    _number: int = 0
    """The newest change that the zone holds."""
    _base: int = 0
    """What is added to it for the serial: the same in all processes."""
    _busy: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def load(self) -> None:
        """Fill the zone with all that the store has for it."""
        async with self._busy:
            await self._load()

    async def follow(self) -> None:
        """Keep up until cancelled."""
        with self.signals.listen(ZONE) as heard:
            while True:
                try:
                    while await self.catch_up():
                        pass
                except StoreUnavailable as error:
                    _log.warning("zone.not_followed", extra={"reason": str(error)})
                await heard(LOOK_S)

    async def catch_up(self) -> bool:
        """Take up what has changed since, as far as it goes in one step; True when there may be more."""
        async with self._busy:
            number = self._number

            def look(transaction: Transaction) -> _Seen | None:
                changes = transaction.zone_changes
                rows = changes.after(number, limit=AT_ONCE)
                if not changes.is_known(number):
                    return None
                labels = dict.fromkeys(label for _, label in rows)
                return _Seen(
                    base=transaction.zone_places.get(SERIAL_BASE),
                    whole=len(rows) < AT_ONCE,
                    number=rows[-1][0] if rows else number,
                    contents=[changes.content(label) for label in labels if label != TOP],
                    caa=transaction.caa.of(self.issuers) if TOP in labels else None,
                    persist=transaction.persist.of(self.issuers) if TOP in labels else None,
                )

            seen = await self.store.read(look)
            if seen is None:
                _log.warning("zone.loaded_anew", extra={"reason": "more changed than is kept for those who follow"})
                await self._load()
                return False
            moved = seen.number != self._number
            self._number = seen.number
            for content in seen.contents:
                take_up(self.zone, self.models, content)
            if seen.caa is not None:
                self.zone.set_caa(seen.caa)
            if seen.persist is not None:
                self.zone.set_persist(seen.persist)
            self._show_serial(seen)
            return moved

    def _show_serial(self, seen: _Seen) -> None:
        if seen.base is not None and seen.base != self._base:
            # Another process filled its zone anew: it may have other models, so no difference of ours holds there.
            self._base = seen.base
            self.zone.forget_changes()
        if seen.whole:
            # Only now it is what the store says at this number, and so the same as in every other process.
            self.zone.number((self._base + self._number) % 2**32)

    async def _load(self) -> None:
        def look(transaction: Transaction) -> tuple[int, list[Row], list[tuple[str, str]], list[str], list[str]]:
            # In one transaction: what comes after this number is not in it yet, all before is.
            return (
                transaction.zone_changes.last(),
                list(transaction.devices.names()),
                transaction.challenges.all(),
                transaction.caa.of(self.issuers),
                transaction.persist.of(self.issuers),
            )

        self._number, rows, txt, caa, persist = await self.store.read(look)
        self.zone.load(boxes_of(rows, self.models), txt)
        self.zone.set_caa(caa)
        self.zone.set_persist(persist)
        self._base = await raised_base(self.store, now_s=int(time.time()))
        self.zone.number((self._base + self._number) % 2**32)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """What one look has found; `caa` and `persist` are None where they did not change.

    `base` is that of the serials, None before anybody had one; `whole` is False where more may have changed by then.
    """

    base: int | None
    whole: bool
    number: int
    contents: list[LabelContent]
    caa: list[str] | None
    persist: list[str] | None


def take_up(zone: SheetZone, models: Mapping[str, Model], content: LabelContent) -> None:
    """Have the zone hold for a label what the store says of it; raises as the zone does."""
    model = models.get(content.device[0]) if content.device else None
    if content.device is not None and model is not None:
        addresses = published_addresses(model, content.device[1].split())
        zone.activate(content.label, addresses, shown(model, serves=content.serves))
    else:
        zone.withdraw(content.label)
    zone.set_txt(content.label, content.values)


def boxes_of(rows: Iterable[Row], models: Mapping[str, Model]) -> Iterable[tuple[str, str, AddressPolicy]]:
    """Rows as the zone loads them, one by one; boxes of a model that is gone are left out."""
    for label, name, addresses, serving_since_s in rows:
        model = models.get(name)
        if model is not None:
            yield label, addresses if model.static_address else "", shown(model, serves=serving_since_s is not None)
