"""The command tree of `otscert`, and how an error becomes a sentence and an exit status."""

from __future__ import annotations

import sys
from importlib.metadata import version
from typing import Annotated

import typer

from otscert.cli import (
    alerts,
    budget,
    cert,
    config,
    database_group,
    demo,
    device,
    doctor,
    factory,
    hq_root,
    init,
    issuer,
    model,
    order,
    plan,
    processes,
    reissue,
    serve,
    zone,
)
from otscert.cli.errors import CommandFailed
from otscert.cli.options import examples
from otscert.config import ConfigError
from otscert.factory.errors import FactoryError
from otscert.pki.files import PkiError
from otscert.pki.seal import SealBroken
from otscert.store.errors import StoreError

_EPILOGUE = examples(
    "otscert demo",
    "otscert init --zone boxes.example.com --public-url https://hq.example.com:8443 --address 192.0.2.1",
    "otscert doctor",
    "otscert serve",
)


def build(*, decorated: bool = True) -> typer.Typer:
    """The commands, each from the file of its noun; `decorated` puts frames and colours around their help."""
    commands = typer.Typer(
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich" if decorated else None,
        epilog=_EPILOGUE,
    )
    commands.callback()(_otscert)
    commands.command("init", short_help="Make HQ's keys and configuration.", epilog=init.EXAMPLES)(init.init)
    commands.command("serve", short_help="Run HQ until it is told to stop.", epilog=serve.EXAMPLES)(serve.serve)
    commands.command("processes", short_help="Which HQ processes live, and what each does.", epilog=processes.EXAMPLES)(
        processes.processes
    )
    commands.command("demo", short_help="See it work, on this machine.", epilog=examples("otscert demo --boxes 3"))(
        demo.demo
    )
    commands.command(
        "doctor",
        short_help="What is wrong, and how to mend it.",
        epilog=examples("otscert doctor", "otscert doctor --json"),
    )(doctor.doctor)
    commands.command("budget", short_help="What is left of the CAs' limits, and who waits.", epilog=budget.EXAMPLES)(
        budget.budget
    )
    commands.command("plan", short_help="What the CA's limits make of a launch.", epilog=plan.EXAMPLES)(plan.plan)
    for name, group in {
        "alerts": alerts,
        "device": device,
        "model": model,
        "order": order,
        "cert": cert,
        "reissue": reissue,
        "issuer": issuer,
        "config": config,
        "database": database_group,
        "zone": zone,
        "hq-root": hq_root,
        "factory": factory,
    }.items():
        commands.add_typer(group.commands(), name=name)
    return commands


def _show_version(*, wanted: bool) -> None:
    if wanted:
        typer.echo(f"otscert {version('otscert')}")
        raise typer.Exit


def _otscert(
    *,
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """HQ of OTS Cert: names and browser-trusted certificates for boxes on the LAN."""


def main() -> None:
    """Run a command; errors that a person can act on are one line on stderr and exit status 1."""
    try:
        build(decorated=sys.stdout.isatty() and sys.stderr.isatty())()
    except (ConfigError, CommandFailed, StoreError, PkiError, SealBroken, FactoryError) as error:
        print(f"otscert: {error}", file=sys.stderr)  # noqa: T201 - the terminal is the interface
        sys.exit(1)
