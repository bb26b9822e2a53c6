"""The zone as its process changes it, and what must be forgotten and renumbered when it does.

Knows content, the cache and the serial; `responder` answers from them. Does no I/O, has no clock and no lock: one
thread changes it and asks it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from otscert.domain.addresses import AddressPolicy, IPAddress, Verdict
from otscert.zones import wire
from otscert.zones.boxes import BoxEntry
from otscert.zones.cache import AnswerCache
from otscert.zones.content import CHALLENGE, PERSISTENT, TAKEN, ZoneContent
from otscert.zones.counters import AnswerCounters
from otscert.zones.journal import Journal
from otscert.zones.responder import Responder
from otscert.zones.rrs import Rr, rrs_of
from otscert.zones.serials import Serials
from otscert.zones.settings import ZoneSettings, absolute_name, name_octets
from otscert.zones.snapshot import Snapshot

_ENTRIES_PER_GENERATION = 131_072
_TOP = b""


class Zone:
    """The content of one zone and its answers.

    A change is answered from the moment its method returns, and moves the SOA's serial by one (a bulk load too), as far
    as `allow_serials` lets it; where `number` says the serial, changes leave it alone. A box whose label is a name of
    the zone itself is left out (`left_out`): changes of it do nothing.
    """

    def __init__(self, settings: ZoneSettings) -> None:
        self.counters = AnswerCounters()
        self._content = ZoneContent(settings)
        self._origin = name_octets(absolute_name(settings.origin, setting="origin"))
        self._cache = AnswerCache(entries_per_generation=_ENTRIES_PER_GENERATION)
        self._serials = Serials(settings)
        self._journal: Journal | None = None
        self._snapshots: list[Snapshot] = []
        self._listeners: list[Callable[[], None]] = []
        self.responder = Responder(self._origin, self._content, self._serials, self._cache, self.counters)
        self.answer = self.responder.answer

    @property
    def serial(self) -> int:
        """The SOA's serial."""
        return self._serials.serial

    @property
    def origin(self) -> bytes:
        """The zone's name in wire format, lower-cased."""
        return self._origin

    @property
    def left_out(self) -> frozenset[str]:
        """The labels of boxes that are not in the zone, because settings give these names to something else."""
        return frozenset(self._content.left_out)

    def activate(self, label: str, addresses: Sequence[IPAddress], policy: AddressPolicy) -> tuple[Verdict, ...]:
        """Make `label` a box's name with exactly these addresses, and let names be computed below it by `policy`.

        Addresses that the policy refuses are not published; their verdicts are returned.

        Raises:
            LabelError: it is no label; nothing changed.
        """
        key = self._content.key(label)
        box, refused = self._content.box(addresses, policy)
        if key == TAKEN:
            return refused
        self._before(key)
        before = self._content.exchange_box(key, box)
        if before is not None and before[:2] != box[:2]:
            # Of another kind: computed names below it are remembered one by one, and such changes are rare enough to
            # forget everything.
            self._cache.clear()
        if before != box:
            self._changed(key)
        return refused

    def withdraw(self, label: str) -> None:
        """Take a box's addresses and computed names out of the zone; its challenges stay. Unknown labels are fine.

        Raises:
            LabelError: it is no label.
        """
        key = self._content.key(label)
        if key == TAKEN:
            return
        self._before(key)
        if self._content.exchange_box(key, None) is not None:
            self._cache.clear()
            self._changed(key)

    def put_txt(self, label: str, value: str) -> None:
        """Add a challenge at `_acme-challenge.<label>`, beside those already there; the label need not be active.

        Raises:
            LabelError: it is no label.
            RecordError: the value does not fit, or 100 challenges stand there already.
        """
        key = self._content.key(label)
        if key == TAKEN:
            return
        self._before(key)
        if self._content.put_txt(key, value):
            self._changed(key)

    def drop_txt(self, label: str, value: str) -> None:
        """Take one challenge away; one that is not there is fine.

        Raises:
            LabelError: it is no label.
        """
        key = self._content.key(label)
        if key == TAKEN:
            return
        self._before(key)
        if self._content.drop_txt(key, value):
            self._changed(key)

    def set_txt(self, label: str, values: Iterable[str]) -> None:
        """Have exactly these challenges at `_acme-challenge.<label>`.

        Raises:
            LabelError: it is no label.
            RecordError: a value does not fit, or there are more than 100; what fits stands there.
        """
        wanted = set(values)
        for value in self._content.txt(self._content.key(label)):
            if value not in wanted:
                self.drop_txt(label, value)
        for value in sorted(wanted):
            self.put_txt(label, value)

    def set_caa(self, values: Sequence[str]) -> None:
        """Replace the zone's CAA records; no values means no records, and any CA may issue.

        Raises:
            RecordError: a value does not fit; nothing changed.
        """
        self._before(_TOP)
        if self._content.set_caa(values):
            self._cache.forget(self._origin)
            self._moved()

    def set_persist(self, values: Sequence[str]) -> None:
        """Replace the TXT values at `_validation-persist` below every box; no values means that there is no such name.

        Raises:
            RecordError: a value does not fit; nothing changed.
        """
        if self._content.set_persist(values):
            self._all_changed()

    def load(self, boxes: Iterable[BoxEntry], txt: Iterable[tuple[str, str]]) -> tuple[Verdict, ...]:
        """Replace all boxes and challenges at once; the verdicts of addresses left out are returned.

        Raises:
            LabelError: one is no label; the zone is as it was.
            RecordError: a value does not fit; the zone is as it was.
        """
        refused = self._content.load(boxes, txt)
        self._all_changed()
        return refused

    # ---- the serial

    def allow_serials(self, ceiling: int) -> None:
        """Let the serial go as far as `ceiling`: changes beyond are answered, and numbered once it is raised."""
        if self._serials.allow(ceiling):
            self._numbered()

    @property
    def serials_left(self) -> int:
        """How many changes can be numbered before the ceiling."""
        return self._serials.room

    def number(self, serial: int) -> None:
        """Call the content of this moment `serial`; from now on only this moves it."""
        moves = serial != self._serials.serial
        self._serials.jump(serial)
        if moves:
            self._numbered()

    # ---- what other servers are told

    def keep_journal(self) -> Journal:
        """Note every change from now on."""
        self._journal = Journal(self._records_of, self._serials.serial)
        return self._journal

    def on_move(self, listener: Callable[[], None]) -> None:
        """Have `listener` called after every move of the serial; it may not change the zone."""
        self._listeners.append(listener)

    def forget_changes(self) -> None:
        """Have secondaries take the whole zone: what led to this content cannot be told by records."""
        if self._journal is not None:
            self._journal.broken()

    def snapshot(self) -> Snapshot:
        """The zone as it is now; give it back to `release`."""
        # What changed and has no serial yet is no part of the zone that has this one.
        unnumbered = {} if self._journal is None else dict(self._journal.unnumbered)
        top = list(unnumbered.pop(_TOP, self._records_of(_TOP)))
        top += [rr for name, node in self._content.fixed() if name for rr in rrs_of(name + self._origin, node)]
        keys = self._content.labels()
        keys += [key for key in unnumbered if not self.rrs_of(key)]
        snapshot = Snapshot(self.soa(), top, keys, self._records_of, unnumbered)
        self._snapshots.append(snapshot)
        return snapshot

    def release(self, snapshot: Snapshot) -> None:
        """Keep nothing more for this snapshot."""
        if snapshot in self._snapshots:
            self._snapshots.remove(snapshot)

    def _before(self, key: bytes) -> None:
        if self._journal is not None:
            self._journal.before(key)
        for snapshot in self._snapshots:
            snapshot.before(key)

    def _changed(self, key: bytes) -> None:
        self._cache.forget(key + self._origin)
        self._cache.forget(CHALLENGE + key + self._origin)
        self._cache.forget(PERSISTENT + key + self._origin)
        self._moved()

    def _all_changed(self) -> None:
        self._cache.clear()
        for snapshot in self._snapshots:
            snapshot.lose()
        self.forget_changes()
        self._moved()

    def _moved(self) -> None:
        if self._serials.move():
            self._numbered()

    def _numbered(self) -> None:
        if self._journal is not None:
            self._journal.moved(self._serials.serial)
        for listener in self._listeners:
            listener()

    def _records_of(self, key: bytes) -> list[Rr]:
        if key != _TOP:
            return self.rrs_of(key)
        return [rr for name, node in self._content.fixed() if not name for rr in rrs_of(self._origin, node)]

    # ---- the records

    def rrs_of(self, label: bytes) -> list[Rr]:
        """The records at a label and below it; `label` has its length octet in front (`ZoneContent.key`)."""
        return [rr for name, node in self._content.nodes_of(label) for rr in rrs_of(name + self._origin, node)]

    def rrs(self) -> Iterator[Rr]:
        """All records as they are at the first step, the SOA first; later changes may show or not in later steps."""
        yield self.soa()
        for name, node in list(self._content.fixed()):
            yield from rrs_of(name + self._origin, node)
        for key in self._content.labels():
            yield from self.rrs_of(key)

    def soa(self) -> Rr:
        """The SOA now, with whole names."""
        return Rr(self._origin, wire.SOA, *self._serials.whole_soa())
