"""Draws a course as SVG: the queue of boxes without a certificate, and below it the orders per day. No library.

Colours stand on a white ground whatever the viewer's theme; the two panels share the axis of time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from html import escape
from itertools import pairwise

from otscert.ops.plan import DAY_MS, Course, Point

_WIDTH, _LEFT, _RIGHT = 960, 92, 24
_TOP, _QUEUE_HEIGHT, _GAP, _RATE_HEIGHT, _BOTTOM = 112, 240, 64, 130, 60
_HEIGHT = _TOP + _QUEUE_HEIGHT + _GAP + _RATE_HEIGHT + _BOTTOM
_HOUR_MS = DAY_MS // 24
_BLUE, _ORANGE, _GREEN, _INK, _GREY, _LINE = "#2563a8", "#c2570c", "#2f7d4f", "#1c2733", "#5b6875", "#dfe4ea"
_UNITS = ((365 * DAY_MS, "years"), (DAY_MS, "days"), (_HOUR_MS, "hours"), (60_000, "minutes"))
_MOST_TICKS = 8
_STRETCHES = 100
_Series = tuple[str, str, list[tuple[float, float]]]
"""Name, colour, and the line: milliseconds and values."""


def draw(course: Course, *, title: str, facts: Sequence[str]) -> str:
    """Return the whole file. `title` is one line, `facts` one or two short lines below it."""
    points = _worth_showing(course)
    last_ms = max(points[-1].at_ms, 1)
    unit_ms, unit = _unit(last_ms)
    queue: list[_Series] = [("without a certificate", _BLUE, [(point.at_ms, point.queue) for point in points])]
    if any(point.renewing for point in points):
        queue.append(("waiting for a renewal", _ORANGE, [(point.at_ms, point.renewing) for point in points]))
    rates: list[_Series] = [("first certificates", _BLUE, _rates(points, lambda point: point.first, last_ms))]
    if any(point.renewals for point in points):
        rates.append(("renewals", _GREEN, _rates(points, lambda point: point.renewals, last_ms)))
    rates_top = _TOP + _QUEUE_HEIGHT + _GAP
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}"',
        f' width="{_WIDTH}" height="{_HEIGHT}" font-family="system-ui, sans-serif" font-size="13">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#ffffff"/>',
        _text(_LEFT, 30, title, size=18, weight="600"),
        *(_text(_LEFT, 50 + 17 * row, fact, colour=_GREY) for row, fact in enumerate(facts[:2])),
        *_panel(queue, last_ms, top=_TOP, height=_QUEUE_HEIGHT, label="boxes", fill=True),
        *_panel(rates, last_ms, top=rates_top, height=_RATE_HEIGHT, label="orders per day", fill=False),
        *_time_axis(last_ms, unit_ms, unit),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _worth_showing(course: Course) -> Sequence[Point]:
    """The launch, and after it not much more than twice as long: the queue must not become a line at the left."""
    if course.served_ms is None or course.computed:
        return course.points
    until_ms = max(2 * course.served_ms, DAY_MS)
    return [point for point in course.points if point.at_ms <= until_ms] or course.points


def _panel(series: Sequence[_Series], last_ms: int, *, top: int, height: int, label: str, fill: bool) -> Iterable[str]:
    ticks = _ticks(max((value for _, _, line in series for _, value in line), default=0), most=5)
    highest = ticks[-1]
    for tick in ticks:
        y = top + height - height * tick / highest
        yield f'<line x1="{_LEFT}" y1="{y:.1f}" x2="{_WIDTH - _RIGHT}" y2="{y:.1f}" stroke="{_LINE}"/>'
        yield _text(_LEFT - 8, y + 4, _short(tick), anchor="end", colour=_GREY)
    yield _text(_LEFT, top - 12, label, colour=_INK, weight="600")
    x = _LEFT + 9 * len(label) + 24
    for name, colour, line in series:
        drawn = [(_x(at_ms, last_ms), top + height - height * value / highest) for at_ms, value in line]
        text = " ".join(f"{at:.1f},{y:.1f}" for at, y in drawn)
        if fill:
            base = f"{drawn[-1][0]:.1f},{top + height} {drawn[0][0]:.1f},{top + height}"
            yield f'<polygon points="{text} {base}" fill="{colour}" fill-opacity="0.12"/>'
        yield f'<polyline points="{text}" fill="none" stroke="{colour}" stroke-width="2" stroke-linejoin="round"/>'
        yield f'<rect x="{x}" y="{top - 18}" width="14" height="4" rx="2" fill="{colour}"/>'
        yield _text(x + 20, top - 12, name, colour=_GREY)
        x += 7 * len(name) + 48


def _time_axis(last_ms: int, unit_ms: int, unit: str) -> Iterable[str]:
    base = _HEIGHT - _BOTTOM
    for tick in _ticks(last_ms / unit_ms, most=_MOST_TICKS):
        if tick * unit_ms <= last_ms:
            x = _x(tick * unit_ms, last_ms)
            yield f'<line x1="{x:.1f}" y1="{base}" x2="{x:.1f}" y2="{base + 5}" stroke="{_GREY}"/>'
            yield _text(x, base + 20, f"{tick:g}", anchor="middle", colour=_GREY)
    yield f'<line x1="{_LEFT}" y1="{base}" x2="{_WIDTH - _RIGHT}" y2="{base}" stroke="{_GREY}"/>'
    yield _text(
        (_LEFT + _WIDTH - _RIGHT) / 2, base + 44, f"{unit} since the launch began", anchor="middle", colour=_INK
    )


def _unit(last_ms: int) -> tuple[int, str]:
    return next(((length, name) for length, name in _UNITS if last_ms >= 2 * length), (1000, "seconds"))


def _rates(points: Sequence[Point], read: Callable[[Point], float], last_ms: int) -> list[tuple[float, float]]:
    """Orders per day in each of a hundred stretches of the same length, at its middle."""
    line: list[tuple[float, float]] = [(0, 0), *((point.at_ms, read(point)) for point in points)]
    totals, at = [], 0
    for number in range(_STRETCHES + 1):
        moment_ms = last_ms * number / _STRETCHES
        while at + 2 < len(line) and line[at + 1][0] < moment_ms:
            at += 1
        (from_ms, before), (to_ms, after) = line[at], line[at + 1]
        part = min(1.0, (moment_ms - from_ms) / (to_ms - from_ms)) if to_ms > from_ms else 1.0
        totals.append(before + (after - before) * part)
    length_days = last_ms / _STRETCHES / DAY_MS
    return [
        (last_ms * (number + 0.5) / _STRETCHES, (after - before) / length_days)
        for number, (before, after) in enumerate(pairwise(totals))
    ]


def _ticks(highest: float, *, most: int) -> list[float]:
    """Round numbers from 0 to at least `highest`, no more than `most` steps."""
    step = 1.0
    while True:
        for factor in (1, 2, 5):
            if highest <= step * factor * most:
                count = max(1, -int(-highest // (step * factor)))
                return [step * factor * number for number in range(count + 1)]
        step *= 10


def _short(value: float) -> str:
    for size, letter in ((1_000_000, "M"), (1000, "k")):
        if value >= size:
            return f"{value / size:g} {letter}"
    return f"{value:g}"


def _x(at_ms: float, last_ms: int) -> float:
    return _LEFT + (_WIDTH - _LEFT - _RIGHT) * at_ms / last_ms


def _text(
    x: float, y: float, text: str, *, anchor: str = "start", colour: str = _INK, size: int = 13, weight: str = "400"
) -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text {place} fill="{colour}" font-size="{size}" font-weight="{weight}">{escape(text)}</text>'
