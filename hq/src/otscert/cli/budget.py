"""`otscert budget`: what is left of the CAs' limits, who waits for them, until when, and what would change it."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import typer

from otscert.cli import database, show
from otscert.cli.options import ConfigOption, JsonOption, examples, load_config
from otscert.config import Config, IssuerConfig
from otscert.domain.budget import Rank
from otscert.domain.limits import quota_text
from otscert.domain.registered_domain import is_public_suffix
from otscert.domain.spans import about
from otscert.ops.budget import FORMS, Change, helpful_changes
from otscert.service.budget_levels import SharedLevel, shared_levels
from otscert.store.transaction import Transaction

EXAMPLES = examples("otscert budget", "otscert budget --json")
_BAR = 12
_SAID = {
    Rank.FIRST_BOOT: "first boots",
    Rank.EXPIRING: "about to expire",
    Rank.INCIDENT: "to be replaced now",
    Rank.STRANGER: "first boots by the policy open",
    Rank.ROUTINE: "routine renewals",
}


def budget(config: ConfigOption = None, *, as_json: JsonOption = False) -> None:
    """Show what is left of each CA's limits, who waits for them, and what would change that.

    The exit status is 1 while boxes wait for a limit, or a CA has refused more for now.
    """
    loaded = load_config(config)
    now_ms = time.time_ns() // 1_000_000
    levels, accounts = database.read(loaded, lambda transaction: _look(transaction, loaded, now_ms=now_ms))
    changes = {level.bucket.name: helpful_changes(level, now_ms=now_ms) for level in levels}
    if as_json:
        show.print_json(_document(loaded, levels, accounts, changes, now_s=now_ms // 1000))
    else:
        _print(loaded, levels, accounts, changes, now_s=now_ms // 1000)
    if any(level.waiting or level.parked_until_s is not None for level in levels):
        raise typer.Exit(1)


def _look(transaction: Transaction, config: Config, *, now_ms: int) -> tuple[list[SharedLevel], dict[str, str]]:
    levels = shared_levels(
        transaction,
        {issuer.name: issuer.limits for issuer in config.issuers},
        zone=config.zone.origin,
        public_suffix=config.zone.public_suffix,
        now_ms=now_ms,
    )
    accounts = {issuer.name: transaction.accounts.get(issuer.name) for issuer in config.issuers}
    return levels, {name: account.url for name, account in accounts.items() if account is not None and account.url}


def _print(
    config: Config,
    levels: Sequence[SharedLevel],
    accounts: Mapping[str, str],
    changes: Mapping[str, Sequence[Change]],
    *,
    now_s: int,
) -> None:
    rows = [
        (
            level.bucket.issuer,
            f"{level.bucket.kind.value} {level.bucket.subject}".rstrip(),
            "not known" if level.limit is None else quota_text(level.limit),
            _room(level),
            "now" if level.full_at_s is None else show.ago(level.full_at_s, now_s=now_s),
            f"{level.waiting_count:,}" if level.waiting else "nobody",
            _served(level, now_s=now_s),
        )
        for level in levels
    ]
    show.print_table(("issuer", "limit", "allows", "room now", "full again", "waiting", "last is served"), rows)
    for level in levels:
        _print_trouble(level, changes.get(level.bucket.name, ()), now_s=now_s)
    for issuer in config.issuers:
        _print_asking(config, issuer, accounts.get(issuer.name))


def _print_trouble(level: SharedLevel, changes: Sequence[Change], *, now_s: int) -> None:
    if level.parked_until_s is None and not level.waiting:
        return
    fields = {}
    if level.parked_until_s is not None:
        fields["the CA says"] = level.reason
        fields["asked again"] = _when(level.parked_until_s, now_s=now_s)
    for rank, count in sorted(level.waiting.items()):
        served_s = level.served_at_s.get(rank)
        last = "at the next look" if served_s is None else _when(served_s, now_s=now_s)
        fields[_SAID[rank]] = f"{count:,} wait; the last goes {last}"
    for change in changes:
        fields[f"with {change.what}"] = f"the last goes {_when(change.served_at_s, now_s=now_s)} ({change.setting})"
    typer.echo()
    show.print_fields(level.bucket.name, fields)


def _print_asking(config: Config, issuer: IssuerConfig, account: str | None) -> None:
    form = FORMS.get(issuer.limits.name)
    if form is None:
        return
    on_list = config.zone.public_suffix if config.zone.public_suffix is not None else is_public_suffix(_origin(config))
    suffix = "each box is a registered domain of its own" if on_list else "all boxes share one registered domain"
    typer.echo()
    show.print_fields(
        f"Larger limits at {issuer.name}",
        {
            "form": f"{form} (takes some weeks)",
            "account URI": account or f"none yet: otscert issuer test {issuer.name} --register",
            "zone": f"{_origin(config)}: {suffix}",
        },
    )


def _origin(config: Config) -> str:
    return config.zone.origin


def _room(level: SharedLevel) -> str:
    if level.parked_until_s is not None:
        return "none: the CA refuses more for now"
    if level.room is None or level.spendable is None:
        return "not known"
    text = f"{level.room:,} of {level.spendable:,}"
    if not sys.stdout.isatty():
        return text
    filled = -(-_BAR * level.room // level.spendable)
    return f"{'█' * filled}{'░' * (_BAR - filled)} {text}"


def _served(level: SharedLevel, *, now_s: int) -> str:
    if not level.waiting:
        return ""
    last_s = level.last_served_at_s
    return "at the next look" if last_s is None else show.ago(last_s, now_s=now_s)


def _when(at_s: int, *, now_s: int) -> str:
    return "now" if at_s <= now_s else f"in {about(at_s - now_s)} ({_moment(at_s)})"


def _moment(at_s: int) -> str:
    return show.moment(at_s) if at_s < 253_402_300_800 else "after the year 9999"


def _document(
    config: Config,
    levels: Sequence[SharedLevel],
    accounts: Mapping[str, str],
    changes: Mapping[str, Sequence[Change]],
    *,
    now_s: int,
) -> dict[str, Any]:
    return {
        "at": show.moment(now_s),
        "zone": config.zone.origin,
        "issuers": [
            {
                "issuer": issuer.name,
                "limits": issuer.limits.name,
                "account": accounts.get(issuer.name),
                "form": FORMS.get(issuer.limits.name),
                "shared": [
                    _level_view(level, changes.get(level.bucket.name, ()))
                    for level in levels
                    if level.bucket.issuer == issuer.name
                ],
            }
            for issuer in config.issuers
        ],
        "waiting": sum(level.waiting_count for level in levels),
    }


def _level_view(level: SharedLevel, changes: Sequence[Change]) -> dict[str, Any]:
    return {
        "limit": level.bucket.kind.value,
        "subject": level.bucket.subject or None,
        "allows": None if level.limit is None else quota_text(level.limit),
        "spendable": level.spendable,
        "room": level.room,
        "room_for_low_ranks": level.room_low,
        "full_at": _moment_or_none(level.full_at_s),
        "parked_until": _moment_or_none(level.parked_until_s),
        "reason": level.reason or None,
        "waiting": [
            {
                "rank": rank.name.lower().replace("_", " "),
                "count": count,
                "served_at": _moment_or_none(level.served_at_s.get(rank)),
            }
            for rank, count in sorted(level.waiting.items())
        ],
        "served_at": _moment_or_none(level.last_served_at_s),
        "would_help": [
            {"what": change.what, "setting": change.setting, "served_at": _moment_or_none(change.served_at_s)}
            for change in changes
        ],
    }


def _moment_or_none(at_s: int | None) -> str | None:
    return None if at_s is None else _moment(at_s)
