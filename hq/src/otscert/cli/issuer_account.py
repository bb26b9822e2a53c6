"""`otscert issuer rollover`, `agree`, `register`: what a person does to an account; the words of the command line."""

from __future__ import annotations

import asyncio
import getpass
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated

import typer

from otscert.cli import database, show
from otscert.cli.errors import CommandFailed
from otscert.cli.issuer_view import NameArgument, find
from otscert.cli.options import ConfigOption, JsonOption, examples, load_config
from otscert.pki.files import PkiFolder
from otscert.pki.seal import Seal

if TYPE_CHECKING:
    from otscert.issuer_acts import IssuerActs

YesOption = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


def register(group: typer.Typer) -> None:
    """Add the commands to the group of `issuer`."""
    group.command(
        "rollover", short_help="Give the account another key.", epilog=examples("otscert issuer rollover letsencrypt")
    )(rollover)
    group.command("agree", short_help="Agree to the CA's terms.", epilog=examples("otscert issuer agree letsencrypt"))(
        agree
    )
    group.command(
        "register",
        short_help="Register the account, or another one.",
        epilog=examples("otscert issuer register zerossl", "otscert issuer register letsencrypt --new-account"),
    )(register_account)


def rollover(name: NameArgument, config: ConfigOption = None, *, as_json: JsonOption = False) -> None:
    """Have the CA know the account under a new key. Orders go on; a running HQ finds out by itself.

    Killed or cut off it is called again: it goes on with the key that it began with.
    """

    async def act(acts: IssuerActs) -> str:
        return await acts.roll_over(by=getpass.getuser(), now_s=int(time.time()))

    _do(name, config, act, done="has another key now", as_json=as_json)


def agree(
    name: NameArgument, config: ConfigOption = None, *, yes: YesOption = False, as_json: JsonOption = False
) -> None:
    """Tell the CA that you agree to its terms of service as they are now; the link is shown before."""
    loaded = load_config(config)
    issuer = find(loaded, name)
    known = database.read(loaded, lambda transaction: transaction.issuers.get(issuer.name))
    link = known.problem.link if known.problem is not None and known.problem.kind == "terms" else ""
    if not yes:
        typer.echo(f"The terms: {link or 'otscert issuer test shows where they are'}", err=as_json)
        typer.confirm("Do you agree, for whom the account belongs to?", abort=True, err=as_json)

    async def act(acts: IssuerActs) -> str:
        return await acts.agree(by=getpass.getuser(), now_s=int(time.time()))

    _do(name, config, act, done="is told that its terms are agreed to, for the account", as_json=as_json)


def register_account(
    name: NameArgument,
    config: ConfigOption = None,
    *,
    new: Annotated[
        bool, typer.Option("--new-account", help="Another account, with another key, in the place of the present one.")
    ] = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Register the account that HQ has for this CA; HQ never does so by itself once there was one.

    With --new-account the present one is given up: its limits and overrides do not go over, and what it ordered cannot
    be revoked by HQ any more. CAA records follow.
    """
    if new and not yes:
        typer.confirm(f"Give up the account at {name} and register another one?", abort=True, err=as_json)

    async def act(acts: IssuerActs) -> str:
        return await acts.register(instead=new, by=getpass.getuser(), now_s=int(time.time()))

    _do(name, config, act, done="has the account", as_json=as_json)


def _do(
    name: str,
    config: ConfigOption,
    act: Callable[[IssuerActs], Awaitable[str]],
    *,
    done: str,
    as_json: bool,
) -> None:
    from otscert.ca.errors import CaError  # noqa: PLC0415 - aiohttp is behind it: half a second for other commands
    from otscert.issuer_acts import IssuerActs, NotPossible  # noqa: PLC0415 - as above
    from otscert.process import CannotStart  # noqa: PLC0415 - as above

    loaded = load_config(config)
    issuer = find(loaded, name)
    seal = Seal(PkiFolder(folder=loaded.pki_dir).store_key())

    async def run() -> str:
        store = database.open_store(loaded)
        try:
            return await act(IssuerActs(issuer=issuer, store=store, seal=seal))
        finally:
            await store.close()

    try:
        url = asyncio.run(run())
    except (NotPossible, CannotStart) as error:
        raise CommandFailed(str(error)) from error
    except CaError as error:
        link = f"; the CA's link: {error.fault.link}" if error.fault.link else ""
        raise CommandFailed(
            f"{name} did not: {error}{link}. What was there holds; calling this again goes on where it was"
        ) from error
    if as_json:
        show.print_json({"issuer": name, "account": url})
    else:
        typer.echo(f"{name} {done} {url}" if "account" in done else f"The account {url} at {name} {done}.")
