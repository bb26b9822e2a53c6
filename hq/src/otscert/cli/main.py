"""The command tree of `otscert`, and how an error becomes a sentence and an exit status."""

from __future__ import annotations

import sys

import typer

from otscert.app import CannotStart
from otscert.cli import demo, init, serve
from otscert.config import ConfigError
from otscert.pki.files import PkiError
from otscert.store.errors import StoreError

_HELP = """HQ of OTS Cert: names and browser-trusted certificates for boxes on the LAN.

Try it:      otscert demo

Set it up:   otscert init --zone boxes.example.com --public-url https://hq.example.com:8443

Check it:    otscert doctor

Run it:      otscert serve
"""


def build() -> typer.Typer:
    """The commands, each from the file of its noun."""
    commands = typer.Typer(help=_HELP, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
    commands.command("init")(init.init)
    commands.command("serve")(serve.serve)
    commands.command("demo")(demo.demo)
    return commands


def main() -> None:
    """Run a command; errors that a person can act on are one line on stderr and exit status 1."""
    try:
        build()()
    except (ConfigError, CannotStart, StoreError, PkiError) as error:
        print(f"otscert: {error}", file=sys.stderr)  # noqa: T201 - the terminal is the interface
        sys.exit(1)
