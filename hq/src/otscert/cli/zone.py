"""`otscert zone`: the zone as a file, and the zone as the world sees it."""

from __future__ import annotations

import typer

from otscert.cli import zone_check, zone_export
from otscert.cli.options import examples


def commands() -> typer.Typer:
    group = typer.Typer(help="The zone: does the world see it, and what it holds.", no_args_is_help=True)
    group.callback()(_group)
    group.command(
        "check",
        short_help="Does the world see it as a CA must?",
        epilog=examples("otscert zone check", "otscert zone check --json"),
    )(zone_check.check)
    group.command(
        "export",
        short_help="Write it as a zone file.",
        epilog=examples("otscert zone export", "otscert zone export --output boxes.example.com.zone"),
    )(zone_export.export)
    return group


def _group() -> None:
    """The zone: does the world see it, and what it holds."""
