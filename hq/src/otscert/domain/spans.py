"""Spans of time as people say them: "3 hours", "7 days"."""

from __future__ import annotations

_UNITS = (("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1))


def in_words(span_s: int) -> str:
    """The largest unit that divides the span: 10,800 is "3 hours", 604,800 "7 days", 90 "90 seconds"."""
    unit, unit_s = next(each for each in _UNITS if span_s % each[1] == 0)
    count = span_s // unit_s
    return f"{count:,} {unit}" if count == 1 else f"{count:,} {unit}s"


def about(span_s: int) -> str:
    """The span to one figure that matters, as for a wait that is an estimate: "about 3 hours"; at least a second."""
    unit, unit_s = next((each for each in _UNITS if span_s >= 2 * each[1]), _UNITS[-1])
    count = max(1, round(span_s / unit_s))
    return f"about {count:,} {unit}" if count == 1 else f"about {count:,} {unit}s"
