"""`otscert issuer list` and `show`: how well each issuer is, what its account is, and what a person has to do."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from otscert.cli import database, show
from otscert.cli.errors import CommandFailed
from otscert.cli.options import ConfigOption, JsonOption, examples, load_config
from otscert.config import Config, IssuerConfig
from otscert.domain.breaker import BreakerState
from otscert.store.accounts import Account
from otscert.store.issuers import Issuer
from otscert.store.transaction import Transaction

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The issuer's name in the configuration.")]
_WHAT_TO_DO = {
    "lost": "the CA does not know the account any more: ask it why; otscert issuer register {name} --new-account"
    " registers another one, whose limits are new and which cannot revoke what the first one ordered",
    "paused": "the CA takes no orders for some names until you have opened the link; HQ tries again by itself",
    "terms": "read the terms at the link, then: otscert issuer agree {name}",
    "refused": "the CA refuses the account: look at contact, terms_agreed and the EAB settings of issuer.{name};"
    " otscert issuer test {name} asks step by step",
}
_STATES = {
    BreakerState.CLOSED: "well",
    BreakerState.OPEN: "failing; nothing new is asked of it",
    BreakerState.HALF_OPEN: "failing; the next order tries it",
}


def register(group: typer.Typer) -> None:
    """Add the commands to the group of `issuer`."""
    group.command(
        "list", short_help="All issuers, the preferred one first.", epilog=examples("otscert issuer list --json")
    )(list_issuers)
    group.command(
        "show", short_help="One issuer, and what it needs.", epilog=examples("otscert issuer show letsencrypt")
    )(show_issuer)


def find(config: Config, name: str) -> IssuerConfig:
    """The issuer of this name; raises `CommandFailed`."""
    for issuer in config.issuers:
        if issuer.name == name:
            return issuer
    known = ", ".join(issuer.name for issuer in config.issuers)
    raise CommandFailed(f"there is no issuer {name!r} in the configuration, but {known}")


def list_issuers(config: ConfigOption = None, *, as_json: JsonOption = False) -> None:
    """List the issuers in order of preference: whether they work, their account, their last certificate."""
    loaded = load_config(config)
    found = [view(loaded, issuer, *_read(loaded, issuer.name)) for issuer in loaded.issuers]
    if as_json:
        show.print_json({"issuers": found})
        return
    now_s = int(time.time())
    rows = [
        (
            each["name"],
            str(each["preference"] or "not for new orders"),
            _state(each),
            each["account"] or "none yet",
            show.ago(each["last_success_s"], now_s=now_s) if each["last_success_s"] else "never",
        )
        for each in found
    ]
    show.print_table(("name", "preference", "state", "account", "last certificate"), rows)


def show_issuer(name: NameArgument, config: ConfigOption = None, *, as_json: JsonOption = False) -> None:
    """Show an issuer: account, circuit breaker, last certificate, and what a person has to see to, with the CA's link.

    Whoever opens a link of the CA may act for the account: it is shown here and in no log.
    """
    loaded = load_config(config)
    issuer = find(loaded, name)
    found = view(loaded, issuer, *_read(loaded, name))
    if as_json:
        show.print_json(found)
        return
    now_s = int(time.time())
    problem = found["account_problem"]
    fields = {
        "directory": found["directory_url"],
        "preference": str(found["preference"] or "not for new orders"),
        "account": found["account"] or "none yet: otscert serve registers it",
        "key": "is being changed: otscert issuer rollover goes on with it" if found["key_changing"] else "",
        "state": _state(found),
        "failing": f"{found['failures']} times, since {show.ago(found['failing_since_s'], now_s=now_s)}"
        if found["failing_since_s"]
        else "",
        "the CA says": found["reason"],
        "asked again": show.ago(found["open_until_s"], now_s=now_s) if found["breaker"] == BreakerState.OPEN else "",
        "last certificate": show.ago(found["last_success_s"], now_s=now_s) if found["last_success_s"] else "never",
        "account problem": f"{problem['kind']}: {problem['reason']}" if problem else "",
        "link": problem["link"] if problem else "",
        "do": problem["do"] if problem else "",
    }
    show.print_fields(name, {title: text for title, text in fields.items() if text})


def view(config: Config, issuer: IssuerConfig, account: Account | None, known: Issuer) -> dict[str, Any]:
    """An issuer for scripts; times are Unix seconds."""
    breaker, problem = known.breaker, known.problem
    preference = config.preference.index(issuer.name) + 1 if issuer.name in config.preference else None
    return {
        "name": issuer.name,
        "directory_url": issuer.directory_url,
        "preference": preference,
        "account": account.url if account is not None and account.url else None,
        "key_changing": account is not None and account.next_key_sealed is not None,
        "breaker": breaker.state(int(time.time())),
        "failures": breaker.failures,
        "failing_since_s": breaker.failing_since_s,
        "open_until_s": breaker.open_until_s or None,
        "reason": breaker.reason,
        "last_success_s": known.last_success_s,
        "account_problem": None
        if problem is None
        else {
            "kind": problem.kind,
            "reason": problem.reason,
            "link": problem.link or None,
            "since_s": problem.since_s,
            "do": _WHAT_TO_DO.get(problem.kind, "").format(name=issuer.name),
        },
    }


def _state(found: dict[str, Any]) -> str:
    problem = found["account_problem"]
    state = _STATES[BreakerState(found["breaker"])]
    return f"{state}; account {problem['kind']}" if problem else state


def _read(config: Config, name: str) -> tuple[Account | None, Issuer]:
    if not database.exists(config):
        return None, Issuer(name=name)

    def look(transaction: Transaction) -> tuple[Account | None, Issuer]:
        return transaction.accounts.get(name), transaction.issuers.get(name)

    return database.read(config, look)
