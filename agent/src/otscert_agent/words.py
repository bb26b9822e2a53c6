"""Spans, dates and the present state in the words of a terminal: what a person reads where a program reads JSON.

Pure. Does not know where the values come from.
"""

from __future__ import annotations

import time
from typing import Any

_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86400


def span(seconds: float) -> str:
    """A span as exactly as somebody who waited it cares for."""
    if seconds < 1:
        return f"{round(seconds * 1000)} ms"
    if seconds < 10:  # below that a tenth of a second is still worth a look
        return f"{round(seconds, 1):g} s"
    for unit_s, name in ((1, "s"), (_MINUTE_S, "min"), (_HOUR_S, "h")):
        if seconds < 120 * unit_s:
            return f"{round(seconds / unit_s)} {name}"
    return f"{round(seconds / _DAY_S)} days"


def status_lines(found: dict[str, Any], now_s: float) -> list[str]:
    """What `otscert-agent status` found, a line each; what is not there has no line."""
    lines = []
    for name, value in found.items():
        if name == "not_after" and isinstance(value, int) and isinstance(found.get("not_before"), int):
            lines.append(f"valid until {_utc(value)} ({_left(found['not_before'], value, now_s)})")
        elif isinstance(value, bool):
            lines.append(f"{_title(name)}: {'yes' if value else 'no'}")
        elif value not in (None, "", []) and name != "not_before":
            text = ", ".join(value) if isinstance(value, list) else str(value)
            lines.append(f"{_title(name)}: {text}")
    return [one_line(line) for line in lines]


def one_line(text: str) -> str:
    """HQ's and other programs' words are in it: none of them begins a line of its own or moves a terminal's cursor."""
    return "".join(each if each.isprintable() else " " for each in text)


def _title(name: str) -> str:
    return name.replace("_", " ")


def _utc(seconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))


def _left(not_before: int, not_after: int, now_s: float) -> str:
    if now_s < not_before - _DAY_S:  # a CA dates a certificate back an hour; a box without a clock is in 1970
        return f"this box's clock is wrong: it says {_utc(int(now_s))}"
    if now_s >= not_after:
        return "expired"
    days = int(not_after - now_s) // _DAY_S
    return f"{days} {'day' if days == 1 else 'days'} left" if days else f"{span(not_after - now_s)} left"
