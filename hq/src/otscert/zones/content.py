"""What the zone holds, and what stands at a name: fixed nodes, boxes, challenges, computed names.

Knows names relative to the origin and record sets. Does not know messages, the cache or the serial.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from otscert.domain.addresses import AddressPolicy, IPAddress, Verdict
from otscert.zones import wire
from otscert.zones.boxes import Box, BoxEntry, Boxes
from otscert.zones.errors import LabelError, RecordError
from otscert.zones.records import (
    AddressHeads,
    Node,
    Rrset,
    address_heads,
    addresses,
    caa_rrset,
    fixed_nodes,
    https_rrset,
    minimal_any,
    name_server_glue,
    rrset,
    txt_rdata,
)
from otscert.zones.settings import ZoneSettings

# What a resolver reads before the first challenge exists. Without it NODATA would be cached for the SOA's minimum.
PLACEHOLDER = "no challenge is waiting"

CHALLENGE = b"\x0f_acme-challenge"
PERSISTENT = b"\x13_validation-persist"
# RFC 5890 2.3.1: letters, digits, hyphens; "--" in the third and fourth place means something else (R-LDH).
_LABEL = re.compile(r"(?!..--)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
_MOST_CHALLENGES = 100

NO_RECORDS = Rrset(0, b"")
TAKEN = b""
"""The key of every label that is a name of the zone itself: a box that has it is left out."""
_log = logging.getLogger(__name__)


class Found(NamedTuple):
    """What stands at a name for a type: the code, the records, and records that help to use them."""

    rcode: int
    answer: Rrset
    additional: Rrset


_NODATA = Found(wire.NOERROR, NO_RECORDS, NO_RECORDS)
_NXDOMAIN = Found(wire.NXDOMAIN, NO_RECORDS, NO_RECORDS)


class ZoneContent:
    """The nodes of one zone; a box's key is its label with the length octet in front."""

    def __init__(self, settings: ZoneSettings) -> None:
        self._settings = settings
        self._fixed = fixed_nodes(settings)
        self._taken = frozenset(name for name in self._fixed if name and len(name) == name[0] + 1)
        self._glue = name_server_glue(settings)
        self._any = minimal_any()
        self._placeholder = rrset(wire.TXT, settings.ttls.challenge_s, [txt_rdata(PLACEHOLDER)])
        self._address_heads = address_heads(settings.ttls.address_s)
        self._computed_heads = address_heads(settings.ttls.computed_s)
        self._https = https_rrset(settings.ttls.https_s)
        self._persistent = NO_RECORDS
        self._kept = Boxes()
        self._boxes = self._kept.boxes
        self._txt: dict[bytes, dict[str, bytes]] = {}
        self.left_out: set[str] = set()

    def key(self, label: str) -> bytes:
        """The key of a box's label; `TAKEN` when settings give this name to something else, which is said once.

        A name server's name can be configured long after a box got the same label: the box has to stand back then, and
        nobody else.

        Raises:
            LabelError: it is no label, with the reason.
        """
        lowered = label.lower()
        if not _LABEL.fullmatch(lowered):
            raise LabelError(f"{label[:80]!r} is not a host name's label of letters, digits and hyphens")
        key = b"%c%b" % (len(lowered), lowered.encode("ascii"))
        if key in self._taken:
            if lowered not in self.left_out:
                self.left_out.add(lowered)
                _log.error("zone.label_left_out", extra={"label": lowered, "reason": taken_reason(lowered)})
            return TAKEN
        return key

    def box(self, published: Sequence[IPAddress], policy: AddressPolicy) -> tuple[Box, tuple[Verdict, ...]]:
        """Pack what the policy allows; the verdicts on the rest come back beside it."""
        return self._kept.pack(published, policy)

    def exchange_box(self, key: bytes, box: Box | None) -> Box | None:
        """Put a box in the place of the one that is returned; None: no box."""
        before = self._boxes.pop(key, None)
        if box is not None:
            self._boxes[key] = box
        return before

    def put_txt(self, key: bytes, value: str) -> bool:
        """Add a challenge; False when it stands there already.

        Raises:
            RecordError: the value does not fit, or there are too many.
        """
        rdata = txt_rdata(value)
        values = self._txt.get(key, {})
        if value in values:
            return False
        if len(values) >= _MOST_CHALLENGES:
            raise RecordError(f"one label has {_MOST_CHALLENGES} challenges already; drop those that are done")
        values[value] = rdata
        self._txt[key] = values
        return True

    def drop_txt(self, key: bytes, value: str) -> bool:
        """Take a challenge away; False when it is not there."""
        values = self._txt.get(key, {})
        if values.pop(value, None) is None:
            return False
        if not values:
            del self._txt[key]
        return True

    def txt(self, key: bytes) -> tuple[str, ...]:
        """The challenges at a label, in the order in which they came."""
        return tuple(self._txt.get(key, ()))

    def set_caa(self, values: Sequence[str]) -> bool:
        """Replace the CAA records at the top; False when they are the same.

        Raises:
            RecordError: a value does not fit; nothing changed.
        """
        caa = caa_rrset(self._settings, values)
        top = self._fixed[b""]
        if top.get(wire.CAA, NO_RECORDS) == caa:
            return False
        others = {rtype: records for rtype, records in top.items() if rtype != wire.CAA}
        self._fixed[b""] = others | ({wire.CAA: caa} if values else {})
        return True

    def set_persist(self, values: Sequence[str]) -> bool:
        """Replace what stands at `_validation-persist` below every box; False when it is the same.

        Raises:
            RecordError: a value does not fit; nothing changed.
        """
        rdatas = [txt_rdata(value) for value in values]
        before, self._persistent = self._persistent, rrset(wire.TXT, self._settings.ttls.persistent_s, rdatas)
        return before != self._persistent

    def load(self, boxes: Iterable[BoxEntry], txt: Iterable[tuple[str, str]]) -> tuple[Verdict, ...]:
        """Replace all boxes and challenges; the verdicts of addresses left out are returned.

        Raises:
            LabelError: it is no label; nothing changed.
            RecordError: a value does not fit; nothing changed.
        """
        kept = Boxes()
        all_refused = kept.fill(boxes, self.key)
        new_txt: dict[bytes, dict[str, bytes]] = {}
        for label, value in txt:
            new_txt.setdefault(self.key(label), {})[value] = txt_rdata(value)
        kept.boxes.pop(TAKEN, None)
        new_txt.pop(TAKEN, None)
        self._kept, self._boxes, self._txt = kept, kept.boxes, new_txt
        return tuple(all_refused)

    def nodes_of(self, key: bytes) -> Iterator[tuple[bytes, Node]]:
        """What stands at a label and below it, by names relative to the origin; computed names are not listed."""
        box = self._boxes.get(key)
        if box is not None:
            heads, kind = self._address_heads, self._kept.kind(box)
            v4, v6 = addresses(heads.v4, self._kept.v4(box), 4), addresses(heads.v6, self._kept.v6(box), 16)
            https = self._https if kind.https else NO_RECORDS
            families = ((wire.A, v4), (wire.AAAA, v6), (wire.HTTPS, https))
            yield key, {rtype: each for rtype, each in families if each.number}
            if self._persistent.number:
                yield PERSISTENT + key, {wire.TXT: self._persistent}
        values = self._txt.get(key)
        if values:
            challenges = rrset(wire.TXT, self._settings.ttls.challenge_s, list(values.values()))
            yield CHALLENGE + key, {wire.TXT: challenges}
        elif box is not None:
            yield CHALLENGE + key, {wire.TXT: self._placeholder}

    def fixed(self) -> Iterator[tuple[bytes, Node]]:
        """What settings fix, by names relative to the origin; the SOA is the zone's to add."""
        yield from self._fixed.items()

    def labels(self) -> list[bytes]:
        """Every label with a box or a challenge, as they are now."""
        # Copied once, in C: 8 ms for a million boxes, in which nobody is answered.
        labels = list(self._boxes)
        labels += [key for key in self._txt if key not in self._boxes]
        return labels

    def find(self, question: wire.Question, origin_start: int) -> Found:
        """What stands at the question's name, whose origin starts at that offset; the SOA is the zone's to add."""
        fixed = self._fixed.get(question.name[:origin_start])
        if fixed is not None:
            glue = self._glue if not origin_start and question.qtype == wire.NS else NO_RECORDS
            return self._in(fixed, question.qtype, glue)
        starts = question.label_starts
        depth = starts.index(origin_start)
        key = question.name[starts[depth - 1] : origin_start]
        if depth == 1:
            return self._at_label(key, question.qtype)
        if depth == 2:
            return self._below(key, question.name[: starts[1]], question.qtype)
        return _NXDOMAIN

    def _at_label(self, key: bytes, qtype: int) -> Found:
        box = self._boxes.get(key)
        if box is None:
            # RFC 8020 2: a label with a challenge below it exists, though it has no records itself.
            return _NODATA if key in self._txt else _NXDOMAIN
        kept = self._kept
        return self._at_box(kept.v4(box), kept.v6(box), self._address_heads, qtype, https=kept.kind(box).https)

    def _below(self, key: bytes, first: bytes, qtype: int) -> Found:
        box = self._boxes.get(key)
        if first == CHALLENGE:
            return self._challenge(key, qtype, active=box is not None)
        if box is None:
            return _NXDOMAIN
        if first == PERSISTENT:
            return self._in({wire.TXT: self._persistent}, qtype) if self._persistent.number else _NXDOMAIN
        kind = self._kept.kind(box)
        packed = kind.computed.packed(first[1:]) if kind.computed is not None else None
        if packed is None:
            return _NXDOMAIN
        v4, v6 = (packed, b"") if len(packed) == 4 else (b"", packed)
        return self._at_box(v4, v6, self._computed_heads, qtype, https=kind.https)

    def _challenge(self, key: bytes, qtype: int, *, active: bool) -> Found:
        values = self._txt.get(key)
        if values:
            challenges = rrset(wire.TXT, self._settings.ttls.challenge_s, list(values.values()))
            return self._in({wire.TXT: challenges}, qtype)
        return self._in({wire.TXT: self._placeholder}, qtype) if active else _NXDOMAIN

    def _at_box(self, v4: bytes, v6: bytes, heads: AddressHeads, qtype: int, *, https: bool) -> Found:
        if qtype == wire.A and v4:
            return Found(wire.NOERROR, addresses(heads.v4, v4, 4), NO_RECORDS)
        if qtype == wire.AAAA and v6:
            return Found(wire.NOERROR, addresses(heads.v6, v6, 16), NO_RECORDS)
        if qtype == wire.HTTPS and https:
            return Found(wire.NOERROR, self._https, NO_RECORDS)
        if qtype == wire.ANY and (v4 or v6 or https):
            return Found(wire.NOERROR, self._any, NO_RECORDS)
        return _NODATA

    def _in(self, node: Node, qtype: int, glue: Rrset = NO_RECORDS) -> Found:
        if qtype == wire.ANY and node:
            return Found(wire.NOERROR, self._any, NO_RECORDS)
        records = node.get(qtype)
        return _NODATA if records is None else Found(wire.NOERROR, records, glue)


def taken_reason(label: str) -> str:
    """Why a box with this label is not in the zone, and what to do."""
    return (
        f"a box has the label {label!r}, which zone.server_addresses gives to a name server: the box is left out of the"
        " zone and gets no certificate, all others are served; give the name server another name, or retire the box"
    )
