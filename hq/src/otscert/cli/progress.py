"""Progress of work that takes more than two seconds, on stderr: one line that changes, or a line now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import typer

_FIRST_AFTER_S = 2.0
_TERMINAL_EVERY_S = 0.2
_PIPE_EVERY_S = 10.0


class Progress:
    """Call it as often as you like; `finish` leaves the terminal clean."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._terminal = sys.stderr.isatty()
        self._next_s = clock() + _FIRST_AFTER_S
        self._shown = False

    def __call__(self, what: str, done: int, total: int) -> None:
        """So many of `what` (units, labels) are done."""
        now_s = self._clock()
        if now_s < self._next_s:
            return
        self._next_s = now_s + (_TERMINAL_EVERY_S if self._terminal else _PIPE_EVERY_S)
        self._shown = True
        line = f"{what}: {done} of {total} ({100 * done // max(total, 1)} %)"
        typer.echo(f"\r\x1b[K{line}" if self._terminal else line, err=True, nl=not self._terminal)

    def finish(self) -> None:
        if self._terminal and self._shown:
            typer.echo("\r\x1b[K", err=True, nl=False)
