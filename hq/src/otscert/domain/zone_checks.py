"""The values that `otscert zone check` puts into the zone to see where they arrive, and how long they may stay there.

They stand where a box's challenges stand, at a label that no box is ever given, under an id that no order has. The id
says since when, so that whoever finds one that was left behind, by a command that was killed, knows that it is over.
"""

from __future__ import annotations

LABEL = "zone-check"
"""Neither 16 characters, as opaque labels are, nor with four at its end, as readable ones have (`names.make_label`)."""
LONGEST_S = 600
"""Far longer than any check takes."""
_MARK = "zone-check"


def check_id(*, now_s: int, randomness: str) -> str:
    """The id of one check's values, in the place of an order's id."""
    return f"{_MARK} {now_s} {randomness}"


def is_over(row_id: str, *, now_s: int) -> bool:
    """Whether this is the id of a check that has ended by now, or that a clock that was ahead has begun."""
    mark, _, rest = row_id.partition(" ")
    began = rest.partition(" ")[0]
    return mark == _MARK and not (began.isascii() and began.isdigit() and abs(now_s - int(began)) <= LONGEST_S)
