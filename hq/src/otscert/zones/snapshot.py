"""The zone as it was at one moment, read at leisure while it changes: for transfers of the whole (RFC 5936).

Copies no records beforehand: who changes the zone says so before, and only what changed meanwhile is kept as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from otscert.zones.errors import SnapshotLostError
from otscert.zones.rrs import Rr

MOST_KEPT = 50_000
"""Labels that may change during one reading; a secondary that is slower than that begins anew."""


class Snapshot:
    """Read it once. `keys` stand for all records but those of `top`; those in `kept` have changed already."""

    def __init__(
        self,
        soa: Rr,
        top: Sequence[Rr],
        keys: Sequence[bytes],
        records_of: Callable[[bytes], Sequence[Rr]],
        kept: dict[bytes, Sequence[Rr]],
    ) -> None:
        self.soa = soa
        self._top = top
        self._keys = keys
        self._records_of = records_of
        self._kept = kept
        self._lost = False

    def before(self, key: bytes) -> None:
        """Note what a key stands for, right before that changes."""
        if key not in self._kept and not self._lost:
            self._kept[key] = self._records_of(key)
            self._lost = len(self._kept) > MOST_KEPT

    def lose(self) -> None:
        """Everything changed at once: there is no going on."""
        self._lost = True

    def records(self) -> Iterator[Rr]:
        """All records but the SOA.

        Raises:
            SnapshotLostError: too much changed since the beginning.
        """
        yield from self._top
        for key in self._keys:
            if self._lost:
                raise SnapshotLostError
            kept = self._kept.get(key)
            yield from self._records_of(key) if kept is None else kept
