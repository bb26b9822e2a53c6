"""`otscert reissue`: have certificates replaced before their time, inside the CA's limits."""

from __future__ import annotations

from typing import Annotated

import typer

from otscert.cli.cert import YesOption
from otscert.cli.errors import CommandFailed
from otscert.cli.options import ConfigOption, JsonOption, examples
from otscert.domain.recall import KINDS, REASON_WORDS

WhereOption = Annotated[
    list[str] | None,
    typer.Option(
        "--where",
        metavar="KIND=VALUE",
        help=f"Which certificates: {', '.join(KINDS)}. Given several times, certificates have to fit all of them.",
    ),
]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why, in your words: for the record and the boxes' logs.")]
RevokeOption = Annotated[
    str,
    typer.Option(
        "--revoke",
        metavar="REASON",
        help=f"Have the CA revoke what was replaced: {', '.join(REASON_WORDS)}. keyCompromise revokes at once.",
    ),
]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Change nothing: how many, whose, and how long it takes.")
]
IncidentArgument = Annotated[str, typer.Argument(metavar="ID", help="The incident, as reissue has named it.")]


def commands() -> typer.Typer:
    group = typer.Typer(
        help="Have certificates replaced before their time.",
        invoke_without_command=True,
        epilog=examples(
            "otscert reissue --where issuer=letsencrypt --where issued-between=2026-11-01..2026-11-03 --dry-run",
            "otscert reissue --where serial-list=affected.txt --reason 'the CA revokes them on Friday'",
            "otscert reissue --where model=cam --revoke keyCompromise --reason 'firmware 1.2 leaked its keys'",
        ),
    )
    group.callback()(reissue)
    group.command(
        "status",
        short_help="How far it is.",
        epilog=examples("otscert reissue status", "otscert reissue status 5f21c09a --json"),
    )(status)
    group.command(
        "end", short_help="Let the rest be renewed in their time.", epilog=examples("otscert reissue end 5f21c09a")
    )(end)
    return group


def reissue(
    context: typer.Context,
    where: WhereOption = None,
    reason: ReasonOption = "",
    revoke: RevokeOption = "",
    config: ConfigOption = None,
    *,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Have certificates replaced before their time, and revoked afterwards if you like.

    Each box hears of it at its next call and gets a new key and certificate; it serves the old one until then. A run
    that was interrupted goes on when it is given again.
    """
    if context.invoked_subcommand is not None:
        if where or reason or revoke or dry_run or yes or as_json or config:
            raise CommandFailed(f"options of {context.invoked_subcommand} belong behind its name")
        return
    from otscert.cli import reissue_run  # noqa: PLC0415 - HQ's use cases are behind it: slow for other commands

    reissue_run.reissue(config, where or [], reason, revoke, dry_run=dry_run, yes=yes, as_json=as_json)


def status(
    incident: Annotated[str, typer.Argument(metavar="[ID]", help="One incident; without it, the last twenty.")] = "",
    config: ConfigOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Show the incidents, or how far one is: replaced, ordering, waiting for the box, offline, failed."""
    from otscert.cli import reissue_status  # noqa: PLC0415 - see above

    reissue_status.status(config, incident, as_json=as_json)


def end(incident: IncidentArgument, config: ConfigOption = None, *, as_json: JsonOption = False) -> None:
    """End an incident: what was not replaced yet is renewed in its time. What was revoked stays revoked."""
    from otscert.cli import reissue_status  # noqa: PLC0415 - see above

    reissue_status.end(config, incident, as_json=as_json)
