"""What changed from serial to serial: what a secondary is told instead of the whole zone (RFC 1995).

Knows records by label before and after. Kept in memory and bounded; who asks for more than it holds gets the zone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

from otscert.zones.rrs import Rr

MOST_RECORDS = 100_000
MOST_STEPS = 10_000

RecordsOf = Callable[[bytes], Sequence[Rr]]


class Step(NamedTuple):
    """A difference sequence (RFC 1995 4): from one serial to another, records that go and records that come."""

    old: int
    new: int
    deleted: tuple[Rr, ...]
    added: tuple[Rr, ...]


class Journal:
    """The last changes of a zone; `records_of` are those that a key stands for, as they are now."""

    def __init__(
        self, records_of: RecordsOf, serial: int, *, most_records: int = MOST_RECORDS, most_steps: int = MOST_STEPS
    ) -> None:
        self._records_of = records_of
        self._serial = serial
        self._most_records = most_records
        self._most_steps = most_steps
        self._before: dict[bytes, Sequence[Rr]] = {}
        self._steps: deque[Step] = deque()
        self._records = 0
        self._broken = False

    def before(self, key: bytes) -> None:
        """Note what a key stands for, right before that changes."""
        if key not in self._before:
            self._before[key] = self._records_of(key)

    @property
    def unnumbered(self) -> Mapping[bytes, Sequence[Rr]]:
        """What changed since the last serial, as it was then."""
        return self._before

    def moved(self, serial: int) -> None:
        """Close the step: all that changed since the last one is what leads to this serial."""
        if self._broken:
            self._forget(serial)
            return
        deleted: list[Rr] = []
        added: list[Rr] = []
        for key, before in self._before.items():
            after = self._records_of(key)
            deleted += _without(before, after)
            added += _without(after, before)
        self._before.clear()
        self._steps.append(Step(self._serial, serial, tuple(deleted), tuple(added)))
        self._records += len(deleted) + len(added)
        self._serial = serial
        while self._records > self._most_records or len(self._steps) > self._most_steps:
            gone = self._steps.popleft()
            self._records -= len(gone.deleted) + len(gone.added)

    def broken(self) -> None:
        """Note that what leads to the next serial cannot be told by records."""
        self._broken = True

    def since(self, serial: int) -> Sequence[Step] | None:
        """The steps that lead from `serial` to the zone's; None when it is not remembered."""
        if serial == self._serial:
            return ()
        wanted: deque[Step] = deque()
        for step in reversed(self._steps):
            wanted.appendleft(step)
            if step.old == serial:
                return wanted
        return None

    def _forget(self, serial: int) -> None:
        self._before.clear()
        self._steps.clear()
        self._records = 0
        self._serial = serial
        self._broken = False


def _without(records: Sequence[Rr], others: Collection[Rr]) -> list[Rr]:
    left = set(others)
    return [record for record in records if record not in left]
