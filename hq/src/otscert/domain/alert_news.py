"""What of the present trouble is news: from what was known and what holds now to rows and to what people are told.

Pure. The rules: a thing is told when it has held long enough, when it gets worse, and once a day while it lasts; it is
over when it has been well for ten minutes, and for four times as long each time that it comes back within a day. So
whatever flaps is told a bounded number of times a day.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from otscert.domain.alert_texts import TEXTS
from otscert.domain.alerts import DAY_S, HOUR_S, MINUTE_S, Alert, Kind

WELL_S, LONGEST_WELL_S = 10 * MINUTE_S, 6 * HOUR_S
SAME_S = HOUR_S
"""What comes back within it after it was over is the same alert: it keeps its age."""
REMEMBERED_S = DAY_S
WORSE = 10
"""So many times as many boxes as people were told of is news."""


class Change(StrEnum):
    OPENED = "new"
    BACK = "again"
    WORSE = "worse"
    STILL = "still"
    OVER = "over"


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A row of the alert table. Not told yet: it waits for its `hold_s`. `well_s`, `over_s`: see schema.sql."""

    alert: Alert
    found_s: int
    seen_s: int
    told_s: int | None = None
    told_count: int = 0
    well_s: int | None = None
    over_s: int | None = None
    times: int = 0

    @property
    def open(self) -> bool:
        """Whether people were told of it, and not yet that it is over."""
        return self.told_s is not None and self.over_s is None


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    change: Change
    known: Known


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Rows to be written, keys of rows to be forgotten, and what people are told of."""

    put: Sequence[Known]
    forget: Sequence[tuple[str, str]]
    news: Sequence[News]


def well_needed_s(times: int) -> int:
    """How long something must be well before it is over, after it came back so often within a day."""
    return min(LONGEST_WELL_S, WELL_S << 2 * min(times, 10))


def reconcile(known: Iterable[Known], holding: Iterable[Alert], *, now_s: int) -> Outcome:
    """Compare what was known with what holds now."""
    rows = {row.alert.key: row for row in known}
    put, forget, news = [], [], []
    for alert in holding:
        before = rows.pop(alert.key, None)
        row = _seen(before, alert, now_s=now_s)
        change = _change(before, row, now_s=now_s)
        if change is not None:
            row = replace(row, told_s=now_s, told_count=max(row.told_count, alert.count))
            news.append(News(change=change, known=row))
        put.append(row)
    for row in rows.values():
        after = _absent(row, now_s=now_s)
        if after is None:
            forget.append(row.alert.key)
        elif after != row:
            put.append(after)
            if row.open and after.over_s is not None:
                news.append(News(change=Change.OVER, known=after))
    return Outcome(put=put, forget=forget, news=news)


def _seen(row: Known | None, alert: Alert, *, now_s: int) -> Known:
    """The row of something that holds now, before it is judged whether somebody is told."""
    if row is None or (row.over_s is not None and now_s - row.over_s > REMEMBERED_S):
        return Known(alert=alert, found_s=now_s, seen_s=now_s)
    if row.over_s is not None:
        same = now_s - row.over_s <= SAME_S
        since_s = min(row.alert.since_s, alert.since_s) if same else alert.since_s
        again = replace(alert, since_s=since_s)
        return Known(
            alert=again, found_s=now_s, seen_s=now_s, told_count=row.told_count if same else 0, times=row.times + 1
        )
    severity = alert.severity if row.told_s is None else max(row.alert.severity, alert.severity, key=lambda s: s.weight)
    since_s = min(row.alert.since_s, alert.since_s)
    return replace(row, alert=replace(alert, severity=severity, since_s=since_s), seen_s=now_s, well_s=None)


def _change(before: Known | None, row: Known, *, now_s: int) -> Change | None:
    kind = TEXTS[Kind(row.alert.kind)]
    if row.told_s is None:
        # A clock that was set back must not keep it waiting.
        if 0 <= now_s - row.found_s < kind.hold_s:
            return None
        return Change.BACK if row.times else Change.OPENED
    rose = before is not None and row.alert.severity.weight > before.alert.severity.weight
    if rose or row.alert.count >= WORSE * max(row.told_count, 1):
        return Change.WORSE
    return Change.STILL if now_s - row.told_s >= kind.repeat_s or now_s < row.told_s else None


def _absent(row: Known, *, now_s: int) -> Known | None:
    """The row of something that does not hold now; None when it is to be forgotten."""
    if row.over_s is not None:
        if now_s < row.over_s:
            return replace(row, over_s=now_s)
        return row if now_s - row.over_s <= 2 * REMEMBERED_S else None
    if row.told_s is None:
        return replace(row, over_s=now_s) if row.times else None
    if row.well_s is None or now_s < row.well_s:
        return replace(row, well_s=now_s)
    return replace(row, over_s=now_s) if now_s - row.well_s >= well_needed_s(row.times) else row
