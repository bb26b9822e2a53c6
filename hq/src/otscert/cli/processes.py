"""`otscert processes`: which HQ processes share the database, which of them live, and what each of them does."""

from __future__ import annotations

import time
from collections import defaultdict
from typing import Any

import typer

from otscert.cli import database, show
from otscert.cli.options import ConfigOption, JsonOption, examples, load_config
from otscert.service.context import ALONE
from otscert.service.heartbeat import ALONE_S, FORGET_S, GONE_S
from otscert.store.processes import Process
from otscert.store.transaction import Transaction

EXAMPLES = examples("otscert processes", "otscert processes --json")
_LATE_S = 30
"""A process alone says so seldom, and its command line may look right before it does."""


def processes(config: ConfigOption = None, *, as_json: JsonOption = False) -> None:
    """Show the HQ processes that were heard of within a day; those that live do the work of those that do not."""
    loaded = load_config(config)
    now_s = int(time.time())

    def look(transaction: Transaction) -> tuple[list[Process], dict[str, list[str]]]:
        duties = defaultdict(list)
        for name, holder in transaction.duties.all():
            duties[holder].append(name)
        return transaction.processes.seen_since(now_s - FORGET_S), duties

    found, duties = database.read(loaded, look)
    views = [_view(process, duties.get(process.id, []), now_s=now_s) for process in found]
    if as_json:
        show.print_json({"processes": views})
        return
    if not views:
        typer.echo("No HQ process was heard of within a day: otscert serve starts one.")
        return
    show.print_table(
        ("process", "host", "roles", "state", "heard of", "orders", "duties"),
        [
            (
                str(view["pid"]),
                view["host"],
                ",".join(view["roles"]),
                "lives" if view["lives"] else "gone",
                show.ago(process.seen_s, now_s=now_s),
                str(view["orders"]),
                "all, it is alone" if process.id == ALONE else ", ".join(view["duties"]),
            )
            for process, view in zip(found, views, strict=True)
        ],
    )


def _view(process: Process, duties: list[str], *, now_s: int) -> dict[str, Any]:
    silent_s = ALONE_S + _LATE_S if process.id == ALONE else GONE_S
    return {
        "id": process.id,
        "host": process.host,
        "pid": process.pid,
        "roles": process.roles.split(),
        "lives": now_s - process.seen_s <= silent_s,
        "started_at": show.moment(process.started_s),
        "heard_of_at": show.moment(process.seen_s),
        "orders": process.orders,
        "duties": duties,
    }
