"""How commands print: tables and fields for a terminal of any width, plain columns for a pipe, JSON for scripts.

Texts may come from boxes, so nothing that moves a cursor gets through, and none of it is read as markup.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86_400
_MOMENTS_FROM_S = 1_000_000_000
"""September 2001."""


def print_json(document: object) -> None:
    """Print one JSON document, indented."""
    typer.echo(json.dumps(document, indent=2))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows under their headings; a terminal breaks no word if it has room, and a pipe gets all whole."""
    cells = [[printable(cell) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        _print_plain([[column.upper() for column in columns], *cells])
        return
    console = Console()
    gap, widths = _layout(list(zip(columns, *cells, strict=True)), width=console.width)
    table = Table(box=None, pad_edge=False, padding=(0, gap, 0, 0), header_style="bold")
    for number, (column, width) in enumerate(zip(columns, widths, strict=True)):
        table.add_column(column, overflow="fold", no_wrap=width is None and number == 0, width=width)
    for row in cells:
        table.add_row(*map(Text, row))
    console.print(table)


def _layout(columns: Sequence[Sequence[str]], *, width: int) -> tuple[int, Sequence[int | None]]:
    """The gap between columns and their widths, so that no word breaks; None where the terminal has no room for that.

    The first column is wrapped, between words, only where another one would break a word otherwise.
    """
    whole = [max(map(len, column)) for column in columns]
    words = [max(map(_longest_word, column)) for column in columns]
    for least, gap in (([whole[0], *words[1:]], 2), (words, 2), (words, 1)):
        spare = width - sum(least) - gap * (len(columns) - 1)
        if spare >= 0:
            widths: list[int | None] = []
            for wanted, needed in zip(whole, least, strict=True):
                more = min(spare, wanted - needed)
                spare -= more
                widths.append(needed + more)
            return gap, widths
    return 2, [None] * len(columns)


def _longest_word(text: str) -> int:
    return max(map(len, text.split()), default=0)


def print_fields(title: str, fields: Mapping[str, str]) -> None:
    """Print names with their values under a title; long values are wrapped below themselves on a terminal."""
    shown = [(name, printable(value)) for name, value in fields.items()]
    if not sys.stdout.isatty():
        typer.echo(f"{printable(title)}")
        _print_plain([[f"  {name}", value] for name, value in shown])
        return
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in shown:
        grid.add_row(f"  {name}", Text(value))
    console = Console()
    console.print(Text(printable(title), style="bold"))
    console.print(grid)


def _print_plain(rows: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def printable(text: str) -> str:
    """Replace what is not printable: a serial number must not clear the operator's screen."""
    return "".join(character if character.isprintable() else "?" for character in text)


def moment(at_s: int) -> str:
    """A moment for JSON and for people: RFC 3339, UTC, whole seconds."""
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def ago(at_s: int, *, now_s: int) -> str:
    """How long ago a moment is, or in how long it will be, in its largest unit."""
    distance_s = abs(now_s - at_s)
    if distance_s < _MINUTE_S:
        shown = f"{distance_s} s"
    elif distance_s < _HOUR_S:
        shown = f"{distance_s // _MINUTE_S} min"
    elif distance_s < 2 * _DAY_S:
        shown = f"{distance_s // _HOUR_S} h"
    else:
        shown = f"{distance_s // _DAY_S} days"
    return f"{shown} ago" if at_s <= now_s else f"in {shown}"


def span(length_s: int) -> str:
    """How long something takes at most, in the largest unit that shows it whole."""
    for unit_s, one, many in ((_DAY_S, "day", "days"), (_HOUR_S, "hour", "hours"), (_MINUTE_S, "min", "min")):
        if length_s >= unit_s and length_s % unit_s == 0:
            number = length_s // unit_s
            return f"{number} {one if number == 1 else many}"
    return f"{length_s} s"


def unless_same(text: str, other: str) -> str:
    """The text, or nothing when it would only repeat the other."""
    return "" if text == other else text


def event_rows(events: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, str]]:
    """Rows of `print_table` for events as `views.event_view` makes them."""
    return [(event["at"], event["kind"], _details(event["data"])) for event in events]


def _details(data: Mapping[str, object]) -> str:
    """Names with their values; what is empty is left out, but a zero is not empty."""
    return " ".join(_detail(name, value) for name, value in data.items() if value or isinstance(value, int))


def _detail(name: str, value: object) -> str:
    # Spans end in `_s`, too, but none of HQ's comes near a number of seconds since 1970.
    if name.endswith("_s") and isinstance(value, int) and value >= _MOMENTS_FROM_S:
        return f"{name.removesuffix('_s')}={moment(value)}"
    return f"{name}={_value(value)}"


def _value(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
