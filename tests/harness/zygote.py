"""Processes of `otscert` that can be had in milliseconds and that end by kill -9 at an exact commit.

Run as `python -m tests.harness.zygote FOLDER`: it imports HQ once, then forks a child for every line on its stdin, a
JSON list of arguments, and has that child be `otscert` with them, in FOLDER. It tells on stdout what the child does:
`{"pid": ...}`, the child's own lines, `{"ended": signal or status}`. What the child may not know: while FOLDER/die.json
exists, the store of every child looks at each of its commits for the move of an order that is written there, and the
process kills itself in the middle of that transaction or right after its commit.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

DIE = "die.json"


class Death(msgspec.Struct, frozen=True, kw_only=True):
    """When to die: at the move of this label's order from `was` to `now`, before its commit or right `after` it."""

    label: str
    was: str
    now: str
    after: bool


def _mortal(store_class: Any, die: Path) -> None:
    """Have every writer of this class look at what it is about to commit; the store itself does all the work."""
    write = store_class.write

    async def watched(self: Any, work: Callable[[Any], Any]) -> Any:
        death = _death(die)
        if death is None:
            return await write(self, work)
        moved = []

        def look(transaction: Any) -> Any:
            before = _states(transaction, death.label)
            result = work(transaction)
            now = _states(transaction, death.label)
            if any(before.get(order) == death.was and state == death.now for order, state in now.items()):
                moved.append(True)
                if not death.after:
                    os.kill(os.getpid(), signal.SIGKILL)
            return result

        result = await write(self, look)
        if moved:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    store_class.write = watched


def _death(die: Path) -> Death | None:
    try:
        return msgspec.json.decode(die.read_bytes(), type=Death)
    except FileNotFoundError:
        return None


def _states(transaction: Any, label: str) -> dict[str, str]:
    """The states of the label's orders, which the store has no such question for."""
    rows = transaction._connection.execute("SELECT id, state FROM cert_order WHERE label = ?", (label,)).fetchall()
    return dict(rows)


def _say(members: dict[str, object]) -> None:
    os.write(1, json.dumps(members).encode() + b"\n")


def main() -> None:
    folder = Path(sys.argv[1])
    os.chdir(folder)
    from otscert import app, log  # noqa: F401, PLC0415 - all of HQ, once
    from otscert.cli import main as otscert  # noqa: PLC0415
    from otscert.store.postgresql import PostgresStore  # noqa: PLC0415
    from otscert.store.sqlite import SqliteStore  # noqa: PLC0415

    for store_class in (SqliteStore, PostgresStore):
        _mortal(store_class, folder / DIE)
    with suppress(SystemExit):  # what a command imports on its way is imported here, once
        sys.argv = ["otscert", "config", "check", "--config", "none.toml"]
        otscert()
    gc.collect()
    gc.freeze()
    _say({"kind": "zygote"})
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            sys.argv = ["otscert", *json.loads(line)]
            otscert()
            os._exit(0)
        _say({"kind": "started", "pid": pid})
        _, status = os.waitpid(pid, 0)
        _say({"kind": "ended", "by": os.waitstatus_to_exitcode(status)})


if __name__ == "__main__":
    main()
