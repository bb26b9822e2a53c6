"""`otscert alerts`: what is wrong now and who was told, whether the channels work, what the digest says."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from otscert.cli import database, show
from otscert.cli.options import ConfigOption, JsonOption, examples, load_config
from otscert.config import Config
from otscert.domain.alert_message import Message, block, item, trial_message
from otscert.domain.alert_news import REMEMBERED_S, Known
from otscert.domain.alerts import plural
from otscert.store.transaction import Transaction

_LOOKING_S = 300
"""HQ looks every minute; when it did not for so long, it does not run."""

PrintOption = Annotated[bool, typer.Option("--print", help="Print it; send nothing.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelView:
    name: str
    last_sent_s: int | None
    waiting: int
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What the store says; `looked_s` is when an HQ last looked."""

    known: list[Known]
    looked_s: int | None
    channels: list[ChannelView]


def commands() -> typer.Typer:
    group = typer.Typer(
        help="What is wrong, and who is told.",
        invoke_without_command=True,
        epilog=examples("otscert alerts", "otscert alerts --json", "otscert alerts test"),
    )
    group.callback()(alerts)
    group.command(
        "test",
        short_help="Send a test through every channel.",
        epilog=examples("otscert alerts test", "otscert alerts test --json"),
    )(send_test)
    group.command(
        "digest",
        short_help="Send or print the digest of the last day.",
        epilog=examples("otscert alerts digest --print"),
    )(digest)
    return group


def alerts(context: typer.Context, config: ConfigOption = None, *, as_json: JsonOption = False) -> None:
    """Show what is wrong now: since when, why, what still works, what to do, and when people were told of it.

    The exit status is 0 when nothing is, else 1.
    """
    if context.invoked_subcommand is not None:
        return
    loaded, now_s = load_config(config), int(time.time())
    view = database.read(loaded, lambda transaction: _view(transaction, loaded))
    wrong = [row for row in view.known if row.over_s is None]
    looking = view.looked_s is not None and now_s - view.looked_s <= _LOOKING_S
    good = looking and not any(row.open for row in wrong)
    over = [row for row in view.known if row.over_s is not None and row.told_s is not None]
    over = [row for row in over if row.over_s is not None and now_s - row.over_s <= REMEMBERED_S]
    if as_json:
        show.print_json(_document(view, wrong, over, good=good, now_s=now_s))
    else:
        _print(view, wrong, over, looking=looking, now_s=now_s)
    if not good:
        raise typer.Exit(1)


def send_test(config: ConfigOption = None, *, as_json: JsonOption = False) -> None:
    """Send a test message through every channel of the configuration, and say of each what came of it."""
    loaded = load_config(config)
    message = trial_message(
        hq=loaded.zone.origin, url=loaded.public_url, message_id=secrets.token_hex(12), now_s=int(time.time())
    )
    _send(loaded, message, as_json=as_json)


def digest(config: ConfigOption = None, *, only_print: PrintOption = False, as_json: JsonOption = False) -> None:
    """Send the digest of the last day through every channel now, or print it. The daily one comes all the same."""
    from otscert.cli import alerts_digest  # noqa: PLC0415 - HQ's use cases are behind it

    loaded = load_config(config)
    message = alerts_digest.make(loaded, now_s=int(time.time()))
    if not only_print:
        _send(loaded, message, as_json=as_json)
    elif as_json:
        show.print_json(message.document())
    else:
        typer.echo(f"Subject: {show.printable(message.subject)}\n")
        for line in message.text.splitlines():
            typer.echo(show.printable(line))


def _view(transaction: Transaction, config: Config) -> View:
    waiting = transaction.outbox.waiting()
    names = sorted({*config.alerts.names, *(each.channel for each in waiting)})
    channels = []
    for name in names:
        mine = [each for each in waiting if each.channel == name]
        gone = "" if name in config.alerts.names else "not configured any more"
        channels.append(
            ChannelView(
                name=name,
                last_sent_s=transaction.outbox.last_sent_s(name),
                waiting=len(mine),
                problem=gone or next((each.problem for each in mine if each.problem), ""),
            )
        )
    return View(known=transaction.alerts.all(), looked_s=transaction.alerts.done_s("looked"), channels=channels)


def _document(view: View, wrong: list[Known], over: list[Known], *, good: bool, now_s: int) -> dict[str, Any]:
    def shown(row: Known) -> dict[str, Any]:
        return {
            **item(row, change=None, now_s=now_s),
            "told_at": None if row.told_s is None else show.moment(row.told_s),
        }

    return {
        "ok": good,
        "looked_at": None if view.looked_s is None else show.moment(view.looked_s),
        "alerts": [shown(row) for row in wrong],
        "over": [shown(row) for row in over],
        "channels": [
            {
                "name": each.name,
                "last_sent_at": None if each.last_sent_s is None else show.moment(each.last_sent_s),
                "waiting": each.waiting,
                "problem": each.problem or None,
            }
            for each in view.channels
        ],
    }


def _print(view: View, wrong: list[Known], over: list[Known], *, looking: bool, now_s: int) -> None:
    for row in sorted(wrong, key=lambda row: -row.alert.severity.weight):
        for line in block(row, change=None, now_s=now_s):
            typer.echo(show.printable(line))
        typer.echo(f"  {'told:':<13} {_told(row, view, now_s=now_s)}\n")
    if over:
        typer.echo("Over in the last day")
        show.print_table(
            ("over", "what"), [(show.ago(row.over_s or now_s, now_s=now_s), row.alert.what) for row in over]
        )
        typer.echo()
    if view.channels:
        show.print_table(
            ("told through", "last message", "waiting", "problem"),
            [
                (
                    each.name,
                    "never" if each.last_sent_s is None else show.ago(each.last_sent_s, now_s=now_s),
                    str(each.waiting),
                    each.problem,
                )
                for each in view.channels
            ],
        )
        typer.echo()
    else:
        typer.echo("Nobody is told: no channel is configured. docs/alerts.md shows how.\n")
    number = sum(row.open for row in wrong)
    looked = "HQ has never looked" if view.looked_s is None else f"HQ looked {show.ago(view.looked_s, now_s=now_s)}"
    state = plural(number, "alert") if number else "Nothing is known to be wrong"
    hint = "" if looking else ": it does not run, so nobody sees what is wrong. Start otscert serve"
    typer.echo(f"{state}. {looked}{hint}.")


def _told(row: Known, view: View, *, now_s: int) -> str:
    if row.told_s is None:
        return "not yet: it has to last a few minutes"
    names = ", ".join(each.name for each in view.channels) or "nobody"
    return f"{show.moment(row.told_s)}, {show.ago(row.told_s, now_s=now_s)}: {names}"


def _send(config: Config, message: Message, *, as_json: bool) -> None:
    from otscert.cli.alerts_send import send  # noqa: PLC0415 - network code is behind it

    results = send(config, message)
    good = bool(results) and all(each["ok"] for each in results)
    if as_json:
        show.print_json({"ok": good, "channels": results})
    elif not results:
        typer.echo("No channel is configured: docs/alerts.md shows how.", err=True)
    else:
        rows = [(each["name"], "sent" if each["ok"] else each["problem"], f"{each['ms']} ms") for each in results]
        show.print_table(("channel", "result", "after"), rows)
    if not good:
        raise typer.Exit(1)
