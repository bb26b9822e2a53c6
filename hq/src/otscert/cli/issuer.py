"""`otscert issuer`: the CAs that HQ orders from, and can it?"""

from __future__ import annotations

import asyncio
import os
from functools import partial
from typing import Annotated

import typer

from otscert.cli import database, issuer_account, issuer_view
from otscert.cli.errors import CommandFailed
from otscert.cli.findings import print_findings
from otscert.cli.options import ConfigOption, JsonOption, examples, load_config
from otscert.config import Config, IssuerConfig
from otscert.ops.doctor_finding import Finding, any_failed
from otscert.pki.files import PkiFolder
from otscert.pki.seal import Seal
from otscert.store import opening
from otscert.store.transaction import Transaction


def commands() -> typer.Typer:
    group = typer.Typer(help="The CAs that HQ orders from.", no_args_is_help=True)
    group.callback()(_group)
    group.command(
        "test",
        short_help="Ask the CA; order nothing.",
        epilog=examples("otscert issuer test", "otscert issuer test letsencrypt --register"),
    )(ask_ca)
    issuer_view.register(group)
    issuer_account.register(group)
    return group


def _group() -> None:
    """The CAs that HQ orders from."""


def ask_ca(
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="The issuer's name; else the preferred one.")] = "",
    config: ConfigOption = None,
    *,
    register: Annotated[
        bool, typer.Option("--register", help="Register the account when the CA does not know it yet.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Ask the CA for all up to the account: directory, clock, terms, profiles, CAA, EAB, nonce. Orders nothing."""
    loaded = load_config(config)
    issuer = _issuer(loaded, name)
    findings = asyncio.run(_registering(loaded, issuer) if register else _looking(loaded, issuer))
    good = not any_failed(findings)
    print_findings(findings, as_json=as_json, good=good)
    if not good:
        raise typer.Exit(1)


def _issuer(config: Config, name: str) -> IssuerConfig:
    wanted = name or config.preference[0]
    found = [issuer for issuer in config.issuers if issuer.name == wanted]
    if not found:
        known = ", ".join(issuer.name for issuer in config.issuers)
        raise CommandFailed(f"there is no issuer {name!r} in the configuration, but {known}")
    return found[0]


async def _looking(config: Config, issuer: IssuerConfig) -> list[Finding]:
    from otscert.issuers import ACCOUNT_KEY  # noqa: PLC0415 - all of HQ is behind it: half a second for other commands
    from otscert.ops.doctor_issuer import check_issuer  # noqa: PLC0415 - aiohttp, as above

    key_pem = None
    if database.exists(config):
        store = database.open_store(config)
        try:
            account = await store.read(lambda transaction: transaction.accounts.get(issuer.name))
        finally:
            await store.close()
        if account is not None and account.directory_url == issuer.directory_url:
            seal = Seal(PkiFolder(folder=config.pki_dir).store_key())
            key_pem = seal.open(account.key_sealed, purpose=ACCOUNT_KEY)
    return [finding async for finding in check_issuer(issuer, key_pem, None)]


async def _registering(config: Config, issuer: IssuerConfig) -> list[Finding]:
    from otscert.issuers import issuer_settings  # noqa: PLC0415 - see above
    from otscert.ops.doctor_issuer import ACCOUNT, check_issuer  # noqa: PLC0415 - see above
    from otscert.process import CannotStart  # noqa: PLC0415 - see above

    _refuse_other_user(config)
    seal = Seal(PkiFolder(folder=config.pki_dir).store_key())
    store = opening.open_store(config, followed=config.zone_elsewhere)
    try:
        settings, key_pem = await issuer_settings(issuer, store, seal)
        findings = [finding async for finding in check_issuer(issuer, key_pem, settings)]
        for finding in findings:
            if finding.check == f"issuer.{issuer.name}.{ACCOUNT}" and finding.value:
                await store.write(partial(_keep, name=issuer.name, url=finding.value))
    except CannotStart as error:
        raise CommandFailed(str(error)) from error
    finally:
        await store.close()
    return findings


def _keep(transaction: Transaction, *, name: str, url: str) -> None:
    transaction.accounts.set_url(name, url)


def _refuse_other_user(config: Config) -> None:
    """The key is stored, and HQ has to be able to open what this command writes."""
    try:
        owner = config.data_dir.stat().st_uid
    except OSError as error:
        raise CommandFailed(f"the data folder {config.data_dir} cannot be opened: {error.strerror}") from error
    if owner != os.geteuid():
        raise CommandFailed(f"the data folder {config.data_dir} belongs to another user: run this as that user")
