"""`otscert doctor`: is this HQ fit to run, and does the world find it?"""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from otscert.cli.findings import print_findings, summary
from otscert.cli.options import ConfigOption, JsonOption, load_config
from otscert.config import ConfigError, split_host_port
from otscert.ops.doctor_finding import any_failed, failed

ResolverOption = Annotated[
    str,
    typer.Option(
        "--resolver",
        metavar="HOST:PORT",
        help="Ask this resolver instead of the system's, and every name server at the same port.",
    ),
]


_WAITED_FOR = {
    "HQ": "HQ at its public URL and its ports",
    "delegation": "delegation, from the parent zone's name servers",
    "challenges.delegation": "delegation of the challenge zone, from its parent zone's name servers",
}


def doctor(config: ConfigOption = None, resolver: ResolverOption = "", *, as_json: JsonOption = False) -> None:
    """Check configuration, keys, database, ports, DNS delegation, CA and clock; say what is wrong and how to mend it.

    The exit status is 1 when something is wrong. "cannot tell" is not wrong, but not well either.
    """
    from otscert.ops.doctor import examine  # noqa: PLC0415 - aiohttp and dnspython: 0.3 s for other commands

    try:
        loaded = load_config(config)
    except ConfigError as error:
        if not as_json:
            raise
        print_findings(
            [failed("config", str(error), why="HQ does not start", mend="correct it")], as_json=True, good=False
        )
        raise typer.Exit(1) from error
    asked = split_host_port(resolver, name="--resolver", default_port=53) if resolver else None
    findings = asyncio.run(examine(loaded, resolver=asked, on_slow=_still_waiting))
    good = not any_failed(findings)
    print_findings(findings, as_json=as_json, good=good)
    if not as_json:
        typer.echo(f"\n{summary(findings)}")
    if not good:
        raise typer.Exit(1)


def _still_waiting(names: list[str]) -> None:
    shown = (_WAITED_FOR.get(name, name) for name in names)
    typer.echo(f"still waiting for answers: {', '.join(shown)} (8 s at most)", err=True)
