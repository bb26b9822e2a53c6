"""What the CAs have seen in a year, by month: the judge's book, kept by the CAs themselves."""

from __future__ import annotations

from collections import Counter
from enum import StrEnum

MONTH_S = 365 * 86_400 // 12


class Entry(StrEnum):
    CHARGED = "new"  # an order that its limits count
    SAME_NAMES = "same names"  # exempt: names that had a certificate before
    EXEMPT = "in window"  # exempt: replaces one inside its window
    REFUSED = "refused"  # for a rate limit
    REPLACED = "replaced already"  # newOrder refused: 409
    UNREACHABLE = "unreachable"  # asked while it was away
    CERTIFICATE = "certificates"
    REVOKED = "revoked"


class Ledger:
    """Counts per CA and month; `start_s` is the year's first moment."""

    def __init__(self, start_s: int) -> None:
        self._start_s = start_s
        self._counts: Counter[tuple[str, int, Entry]] = Counter()

    def add(self, issuer: str, entry: Entry, *, now_s: int) -> None:
        self._counts[issuer, (now_s - self._start_s) // MONTH_S + 1, entry] += 1

    def total(self, entry: Entry, *, issuer: str | None = None) -> int:
        return sum(n for (name, _, kind), n in self._counts.items() if kind is entry and issuer in (None, name))

    def table(self) -> str:
        """One line per CA and month, and the sums."""
        heads = ["CA", "month", *(entry.value for entry in Entry)]
        rows = [
            [issuer, str(month), *(f"{self._counts[issuer, month, entry]:,}" for entry in Entry)]
            for issuer, month in sorted({(issuer, month) for issuer, month, _ in self._counts})
        ]
        rows.append(["all", "", *(f"{self.total(entry):,}" for entry in Entry)])
        widths = [max(len(row[column]) for row in [heads, *rows]) for column in range(len(heads))]
        return "\n".join(
            "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in [heads, *rows]
        )
