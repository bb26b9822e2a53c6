"""The zone of a process that shares its store: filled from rows alone, whichever process wrote them.

Who changes a device or a challenge notes its label in the same transaction (`store.zone_changes`). The process that
answers DNS reads what the label has now and gives that to its zone: when it is told (`ZONE`), and every second anyway.
So it does not matter who wrote it, in which order it is read, or how often.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from otscert.domain.addresses import AddressPolicy, IPAddress, Verdict
from otscert.domain.admission import Model
from otscert.service.ports import Signals, Store
from otscert.service.publish import published_addresses
from otscert.service.topics import ZONE
from otscert.store.errors import StoreUnavailable
from otscert.store.transaction import Transaction
from otscert.store.zone_changes import TOP, LabelContent

LOOK_S = 1.0
AT_ONCE = 500
_log = logging.getLogger(__name__)
Row = tuple[str, str, str]


class FollowedZone(Protocol):
    """A zone whose content is exchanged label by label. Every call holds from when it returns."""

    def activate(self, label: str, addresses: Sequence[IPAddress], policy: AddressPolicy) -> tuple[Verdict, ...]: ...

    def withdraw(self, label: str) -> None: ...

    def set_txt(self, label: str, values: Iterable[str]) -> None: ...

    def set_caa(self, values: Sequence[str]) -> None: ...

    def load(
        self, boxes: Iterable[tuple[str, Sequence[IPAddress], AddressPolicy]], txt: Iterable[tuple[str, str]]
    ) -> tuple[Verdict, ...]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ZoneElsewhere:
    """The zone as the use cases change it where rows fill it: says only that something changed, and judges addresses.

    What it is told was committed before, so the rows are all that counts.
    """

    signals: Signals

    def activate(self, _label: str, addresses: Sequence[IPAddress], policy: AddressPolicy) -> tuple[Verdict, ...]:
        self.signals.publish(ZONE)
        return tuple(policy.judge(address) for address in addresses if not policy.allows(address))

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
    zone: FollowedZone
    _number: int = 0
    """The newest change that the zone holds."""
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
                    number=rows[-1][0] if rows else number,
                    contents=[changes.content(label) for label in labels if label != TOP],
                    caa=transaction.caa.of(self.issuers) if TOP in labels else None,
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
            return moved

    async def _load(self) -> None:
        def look(transaction: Transaction) -> tuple[int, list[Row], list[tuple[str, str]], list[str]]:
            # In one transaction: what comes after this number is not in it yet, all before is.
            return (
                transaction.zone_changes.last(),
                list(transaction.devices.names()),
                transaction.challenges.all(),
                transaction.caa.of(self.issuers),
            )

        self._number, rows, txt, caa = await self.store.read(look)
        self.zone.load(boxes_of(rows, self.models), txt)
        self.zone.set_caa(caa)

@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """What one look has found; `caa` is None where it did not change."""

    number: int
    contents: list[LabelContent]
    caa: list[str] | None


def take_up(zone: FollowedZone, models: Mapping[str, Model], content: LabelContent) -> None:
    """Have the zone hold for a label what the store says of it; raises as the zone does."""
    model = models.get(content.device[0]) if content.device else None
    if content.device is not None and model is not None:
        addresses = published_addresses(model, content.device[1].split())
        zone.activate(content.label, addresses, model.addresses)
    else:
        zone.withdraw(content.label)
    zone.set_txt(content.label, content.values)


def boxes_of(
    rows: Iterable[Row], models: Mapping[str, Model]
) -> Iterable[tuple[str, Sequence[IPAddress], AddressPolicy]]:
    """Rows of (label, model, addresses) as the zone loads them; boxes of a model that is gone are left out."""
    for label, name, addresses in rows:
        model = models.get(name)
        if model is not None:
            yield label, published_addresses(model, addresses.split()), model.addresses
