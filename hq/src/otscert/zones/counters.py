"""How many answers of which type and code went out: plain integers, cheap to raise, read as a snapshot."""

from __future__ import annotations

from otscert.zones import wire

_TYPES = {
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
}


class AnswerCounters:
    """Counts per (type, code); a type that the zone does not know counts as `other`, so the table stays small."""

    def __init__(self) -> None:
        self.dropped = 0
        self._cells: dict[tuple[str, str], list[int]] = {}

    def cell(self, qtype: int | None, rcode: int) -> list[int]:
        """The one-element list whose number the caller raises; `qtype` None: no question could be read."""
        name = "none" if qtype is None else _TYPES.get(qtype, "other")
        return self._cells.setdefault((name, _RCODES[rcode]), [0])

    def snapshot(self) -> dict[tuple[str, str], int]:
        """The counts now, by (type, code)."""
        return {key: cell[0] for key, cell in self._cells.items()}
