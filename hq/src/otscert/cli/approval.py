"""`otscert device pending`, `approve`, `refuse`: boxes that wait for a person, and what that person says.

The words of the command line; what they do is in `deciding`.
"""

from __future__ import annotations

import getpass
import time
from ipaddress import ip_address
from typing import Annotated, Any

import typer

from otscert.cli import database, show
from otscert.cli.options import ConfigOption, JsonOption, LimitOption, examples, load_config
from otscert.cli.views import request_view
from otscert.domain.admission import Answer
from otscert.store.requests import AdmissionRequest

CodeArgument = Annotated[
    str, typer.Argument(metavar="CODE", help="What the box shows; with --setup-code: the unit's short id or serial.")
]
AccountOption = Annotated[
    str, typer.Option("--account", help="Who decides, for the record and for the number of tries; else the user.")
]
FromOption = Annotated[
    str,
    typer.Option("--from", metavar="ADDRESS", help="Public address of whoever decides, to be compared with the box's."),
]
SetupOption = Annotated[
    str,
    typer.Option(
        "--setup-code", metavar="XXXX-XXXX-XXXX", help="The code on the label of a stamped unit; - asks for it."
    ),
]
YesOption = Annotated[bool, typer.Option("--yes", help="Do not ask: you have compared what is shown.")]


def register(group: typer.Typer) -> None:
    """Add the commands to the group of `device`."""
    group.command(
        "pending",
        short_help="Boxes that wait for a decision.",
        epilog=examples("otscert device pending", "otscert device pending --json"),
    )(pending)
    group.command(
        "approve",
        short_help="Let a waiting box in.",
        epilog=examples(
            "otscert device approve K7QM-2XWD",
            "otscert device approve --setup-code - 7KQ2M",
        ),
    )(approve)
    group.command(
        "refuse",
        short_help="Refuse a waiting box for good.",
        epilog=examples("otscert device refuse K7QM-2XWD"),
    )(refuse)


def pending(config: ConfigOption = None, limit: LimitOption = 100, *, as_json: JsonOption = False) -> None:
    """List the boxes that wait for a person or for the model's webhook. Their codes are on their own pages only."""
    loaded = load_config(config)
    found = database.read(loaded, lambda transaction: transaction.requests.page(limit=limit))
    if as_json:
        show.print_json({"pending": [request_view(request) for request in found]})
        return
    if not found:
        typer.echo("No box is waiting.", err=True)
        return
    now_s = int(time.time())
    rows = [
        (
            request.model,
            request.serial or "none",
            show.ago(request.asked_at_s, now_s=now_s),
            show.ago(request.seen_at_s, now_s=now_s),
            request.address,
            _waits_for(request, now_s=now_s),
        )
        for request in found
    ]
    show.print_table(("model", "serial", "asked", "seen", "address", "waits for"), rows)


def approve(
    code: CodeArgument,
    config: ConfigOption = None,
    account: AccountOption = "",
    from_address: FromOption = "",
    setup: SetupOption = "",
    *,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Let the box in that shows CODE, after its model, serial number, time and address were looked at."""
    from otscert.cli import deciding  # noqa: PLC0415 - HQ's use cases are behind it: half a second for other commands

    if setup == "-":
        setup = typer.prompt("Setup code", hide_input=True)
    loaded, confirmer = load_config(config), _confirmer(account, from_address)
    find = deciding.by_setup_code(setup, unit=code) if setup else deciding.by_pairing_code(code)
    deciding.decide(loaded, confirmer, find, Answer.YES, yes=yes, as_json=as_json)


def refuse(
    code: CodeArgument,
    config: ConfigOption = None,
    account: AccountOption = "",
    from_address: FromOption = "",
    *,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Refuse the box that shows CODE: it is told so, and that asking again does not help."""
    from otscert.cli import deciding  # noqa: PLC0415 - see above

    find = deciding.by_pairing_code(code)
    loaded, confirmer = load_config(config), _confirmer(account, from_address)
    deciding.decide(loaded, confirmer, find, Answer.NO, yes=yes, as_json=as_json)


def _confirmer(account: str, address: str) -> Any:
    from otscert.service.approval import Confirmer  # noqa: PLC0415 - see above

    try:
        known = str(ip_address(address)) if address else None
    except ValueError:
        raise typer.BadParameter(f"{address!r} is not an IP address", param_hint="--from") from None
    return Confirmer(account=account or getpass.getuser(), address=known, now_s=int(time.time()))


def _waits_for(request: AdmissionRequest, *, now_s: int) -> str:
    if request.webhook is Answer.WAITING:
        tries = f", {request.webhook_attempt} tries: {request.webhook_reason}" if request.webhook_attempt else ""
        return f"the webhook{tries}"
    if request.approval is Answer.YES or request.webhook is Answer.YES:
        return "itself: it was let in and has not asked since"
    return "a person" if now_s < request.code_expires_at_s else "a person; its code has expired until it asks again"
