"""`otscert zone check`: from the parent zone down, does the world see the zone as a CA must?"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Mapping, Sequence
from typing import Annotated

import typer

from otscert.cli import database
from otscert.cli.findings import print_findings, summary
from otscert.cli.options import ConfigOption, JsonOption, load_config
from otscert.cli.running import pids_of_hq
from otscert.config import Config, split_host_port
from otscert.ops.doctor_finding import Finding, any_failed
from otscert.store.transaction import Transaction

ResolverOption = Annotated[
    str,
    typer.Option(
        "--resolver",
        metavar="HOST:PORT",
        help="Ask this resolver instead of the system's, and every name server at the same port.",
    ),
]
_HEARD_OF_S = 30
"""A process that lives says so more often than this."""


def check(config: ConfigOption = None, resolver: ResolverOption = "", *, as_json: JsonOption = False) -> None:
    """Ask the parent zone and every name server what CAs and resolvers ask; send a fresh challenge through all of them.

    The exit status is 1 when something is wrong. "cannot tell" is not wrong, but not well either.
    """
    loaded = load_config(config)
    asked = split_host_port(resolver, name="--resolver", default_port=53) if resolver else None
    try:
        findings = asyncio.run(_examine(loaded, asked))
    except asyncio.CancelledError:
        raise typer.Exit(128 + signal.SIGTERM) from None
    good = not any_failed(findings)
    print_findings(findings, as_json=as_json, good=good)
    if not as_json:
        typer.echo(f"\n{summary(findings)}")
    if not good:
        raise typer.Exit(1)


async def _examine(config: Config, resolver: tuple[str, int] | None) -> list[Finding]:
    from otscert.ops.doctor_ask import DNS_PORT, at_port  # noqa: PLC0415 - dnspython: 0.2 s for other commands
    from otscert.ops.zone_check import check_zone  # noqa: PLC0415 - as above

    task = asyncio.current_task()
    if task is not None:
        # As Ctrl-C does: what was put into the zone is taken out first.
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    store = database.open_store(config) if database.exists(config) else None
    try:
        wanted: Mapping[str, Sequence[str]] = {issuer.name: () for issuer in config.issuers}
        shows = False
        if store is not None:
            wanted = await store.read(lambda transaction: {name: transaction.caa.values_of(name) for name in wanted})
            since_s = int(time.time()) - _HEARD_OF_S
            shows = bool(pids_of_hq(config)) or await store.read(lambda transaction: _is_shown(transaction, since_s))
        return await check_zone(
            config,
            store if shows else None,
            wanted_caa=wanted,
            resolver=resolver,
            place=at_port(resolver[1]) if resolver else DNS_PORT,
            on_slow=_still_waiting,
        )
    finally:
        if store is not None:
            await store.close()


def _is_shown(transaction: Transaction, since_s: int) -> bool:
    """Whether a process that shares the store, here or elsewhere, lives."""
    return bool(transaction.processes.seen_since(since_s))


def _still_waiting(names: list[str]) -> None:
    typer.echo(f"still waiting for answers: {', '.join(names)} (15 s at most)", err=True)
