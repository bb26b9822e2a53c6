"""How many answers of which type and code went out: plain integers, cheap to raise, read as a snapshot."""

from __future__ import annotations

from otscert.zones import wire
from otscert.zones.cookies import Standing

# Outside the 16 bits of a type.
_OTHER = 1 << 16

_TYPES = {
    0: "none",
    _OTHER: "other",
    wire.A: "A",
    wire.NS: "NS",
    wire.SOA: "SOA",
    wire.MX: "MX",
    wire.TXT: "TXT",
    wire.AAAA: "AAAA",
    wire.HTTPS: "HTTPS",
    wire.IXFR: "IXFR",
    wire.AXFR: "AXFR",
    wire.ANY: "ANY",
    wire.CAA: "CAA",
}

_RCODES = {
    wire.NOERROR: "NOERROR",
    wire.FORMERR: "FORMERR",
    wire.NXDOMAIN: "NXDOMAIN",
    wire.NOTIMP: "NOTIMP",
    wire.REFUSED: "REFUSED",
    wire.BADVERS: "BADVERS",
    wire.BADCOOKIE: "BADCOOKIE",
}


def type_text(qtype: int) -> str:
    """A type's name, or TYPE and its number (RFC 3597 5)."""
    return _TYPES.get(qtype, f"TYPE{qtype}") if qtype else "TYPE0"


def rcode_text(rcode: int) -> str:
    """A code's name, or its number."""
    return _RCODES.get(rcode, str(rcode))


class AnswerCounters:
    """Counts per (type, code); a type that the zone does not know counts as `other`, so the table stays small."""

    def __init__(self) -> None:
        self.dropped = 0
        self.truncated = 0
        """Answers that did not fit."""
        self.limited = 0
        """Answers over the rate limit: shortened to TC."""
        self.tcp = 0
        """Queries that came over TCP."""
        self.cookies = dict.fromkeys(Standing, 0)
        self._cells: dict[int, list[int]] = {}

    def cell(self, qtype: int, rcode: int) -> list[int]:
        """The one-element list whose number the caller raises; `qtype` 0: no question could be read."""
        key = (qtype if qtype in _TYPES else _OTHER) << 8 | rcode
        cell = self._cells.get(key)
        if cell is None:
            cell = self._cells[key] = [0]
        return cell

    def snapshot(self) -> dict[tuple[str, str], int]:
        """The counts now, by (type, code)."""
        return {(_TYPES[key >> 8], _RCODES[key & 0xFF]): cell[0] for key, cell in self._cells.items()}
