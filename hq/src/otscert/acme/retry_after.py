"""The Retry-After header (RFC 9110 section 10.2.3) in seconds; who waits, and for what, is not known here."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

# Let's Encrypt's longest honest wait is the refill of "5 certificates in 7 days"; nobody means more than a week.
MAX_S = 7 * 24 * 3600.0
_MAX_DIGITS = 10


def parse(header: str | None, now: datetime) -> float | None:
    """Return the seconds to wait from `now`, between 0 and a week; None when there is no usable header.

    "Retry-After = HTTP-date / delay-seconds": a date in the past is 0, "-1" and "tomorrow" are no header at all.
    """
    if header is None:
        return None
    value = header.strip()
    if value.isascii() and value.isdigit():
        return MAX_S if len(value.lstrip("0")) > _MAX_DIGITS else min(float(value), MAX_S)
    moment = _http_date(value)
    return None if moment is None else min(max((moment - now).total_seconds(), 0.0), MAX_S)


def _http_date(value: str) -> datetime | None:
    if "," not in value and not value[:3].isalpha():  # all three forms of RFC 9110 section 5.6.7 begin with a day name
        return None
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, OverflowError, TypeError, IndexError):
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
