"""The zone as its process changes it, and what must be forgotten and renumbered when it does.

Knows content, the cache and the serial; `responder` answers from them. Does no I/O, has no clock and no lock: one
thread changes it and asks it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from otscert.domain.addresses import AddressPolicy, IPAddress, Verdict
from otscert.zones import wire
from otscert.zones.cache import AnswerCache
from otscert.zones.content import CHALLENGE, BoxEntry, ZoneContent
from otscert.zones.counters import AnswerCounters
from otscert.zones.responder import Responder
from otscert.zones.rrs import Rr, rrs_of
from otscert.zones.serials import Serials
from otscert.zones.settings import ZoneSettings, absolute_name, name_octets

_ENTRIES_PER_GENERATION = 131_072


class Zone:
    """The content of one zone and its answers.

    A change is answered from the moment its method returns, and moves the SOA's serial by one (a bulk load too).
    """

    def __init__(self, settings: ZoneSettings) -> None:
        self.counters = AnswerCounters()
        self._content = ZoneContent(settings)
        self._origin = name_octets(absolute_name(settings.origin, setting="origin"))
        self._cache = AnswerCache(entries_per_generation=_ENTRIES_PER_GENERATION)
        self._serials = Serials(settings)
        self.answer = Responder(self._origin, self._content, self._serials, self._cache, self.counters).answer

    @property
    def serial(self) -> int:
        """The SOA's serial, to be handed to the next start as `first_serial`."""
        return self._serials.serial

    def activate(self, label: str, addresses: Sequence[IPAddress], policy: AddressPolicy) -> tuple[Verdict, ...]:
        """Make `label` a box's name with exactly these addresses, and let names be computed below it by `policy`.

        Addresses that the policy refuses are not published; their verdicts are returned.

        Raises:
            LabelError: the label cannot be a box's; nothing changed.
        """
        key = self._content.key(label)
        box, refused = self._content.box(addresses, policy)
        before = self._content.exchange_box(key, box)
        if before is not None and before.computed is not box.computed:
            # Computed names below it are remembered one by one; such changes are rare enough to forget everything.
            self._cache.clear()
        if before != box:
            self._changed(key)
        return refused

    def withdraw(self, label: str) -> None:
        """Take a box's addresses and computed names out of the zone; its challenges stay. Unknown labels are fine.

        Raises:
            LabelError: the label cannot be a box's.
        """
        key = self._content.key(label)
        if self._content.exchange_box(key, None) is not None:
            self._cache.clear()
            self._changed(key)

    def put_txt(self, label: str, value: str) -> None:
        """Add a challenge at `_acme-challenge.<label>`, beside those already there; the label need not be active.

        Raises:
            LabelError: the label cannot be a box's.
            RecordError: the value does not fit, or 100 challenges stand there already.
        """
        key = self._content.key(label)
        if self._content.put_txt(key, value):
            self._changed(key)

    def drop_txt(self, label: str, value: str) -> None:
        """Take one challenge away; one that is not there is fine.

        Raises:
            LabelError: the label cannot be a box's.
        """
        key = self._content.key(label)
        if self._content.drop_txt(key, value):
            self._changed(key)

    def set_txt(self, label: str, values: Iterable[str]) -> None:
        """Have exactly these challenges at `_acme-challenge.<label>`.

        Raises:
            LabelError: the label cannot be a box's.
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
        if self._content.set_caa(values):
            self._cache.forget(self._origin)
            self._serials.move()

    def load(self, boxes: Iterable[BoxEntry], txt: Iterable[tuple[str, str]]) -> tuple[Verdict, ...]:
        """Replace all boxes and challenges at once; the verdicts of addresses left out are returned.

        Raises:
            LabelError: a label cannot be a box's; the zone is as it was.
            RecordError: a value does not fit; the zone is as it was.
        """
        refused = self._content.load(boxes, txt)
        self._cache.clear()
        self._serials.move()
        return refused

    def _changed(self, key: bytes) -> None:
        self._cache.forget(key + self._origin)
        self._cache.forget(CHALLENGE + key + self._origin)
        self._serials.move()

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
