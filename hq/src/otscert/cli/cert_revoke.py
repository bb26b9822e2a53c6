"""`otscert cert revoke` carried out: say what happens, ask, do it in one transaction, say what comes next."""

from __future__ import annotations

import secrets
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from otscert.cli import database, show
from otscert.cli.certificate_lookup import find_certificates
from otscert.cli.errors import CommandFailed
from otscert.cli.options import load_config
from otscert.config import Config
from otscert.domain.recall import CrlReason, WhereError, parse_reason
from otscert.service.revoke_now import Revoked, revoke_now
from otscert.store.incidents import Found
from otscert.store.transaction import Transaction

_LONGEST_TEXT = 200


def new_id() -> str:
    """The id of an incident: short enough to type, since there are a few of them."""
    return secrets.token_hex(4)


def reason_option(text: str, option: str) -> CrlReason:
    """The reason that an option names; raises `typer.BadParameter`."""
    try:
        return parse_reason(text)
    except WhereError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None


def check_text(text: str, option: str) -> None:
    """Refuse a text that is too long to be sent to boxes; raises `typer.BadParameter`."""
    if len(text) > _LONGEST_TEXT or not text.isprintable():
        raise typer.BadParameter(f"one line of at most {_LONGEST_TEXT} characters", param_hint=option)


def revoke(config: Path | None, text: str, reason_text: str, why: str, *, yes: bool, as_json: bool) -> None:
    """Revoke; raises `CommandFailed` where nothing is left to revoke, or nobody said yes."""
    reason = reason_option(reason_text, "--reason")
    check_text(why, "--why")
    loaded, now_s = load_config(config), int(time.time())
    found = database.read(loaded, lambda transaction: _valid(transaction, loaded, text, now_s=now_s))
    if not yes:
        _confirm(loaded, found, reason)

    def work(transaction: Transaction) -> Revoked:
        return revoke_now(
            transaction,
            _valid(transaction, loaded, text, now_s=now_s),
            reason=reason,
            why=why or f"revoked: {reason.word}",
            now_s=now_s,
            new_id=new_id,
        )

    revoked = database.write(loaded, work)
    done = f"HQ asks the CA to revoke {_count(len(revoked.asked), 'certificate')} ({reason.word})."
    following = _following(loaded, revoked, reason)
    if as_json:
        document: dict[str, Any] = {
            "reason": reason.word,
            "revoked": list(revoked.asked),
            "incidents": [incident.id for incident in revoked.incidents],
            "done": done,
            "next": following,
        }
        show.print_json(document)
        return
    typer.echo(done)
    typer.echo(following)


def confirm(question: str) -> None:
    """Ask whether to go on; raises `CommandFailed` unless a person says yes."""
    if not sys.stdin.isatty():
        raise CommandFailed(f"{question} Nobody is there to ask: give --yes")
    if not typer.confirm(f"{question} Go on?", err=True):
        raise CommandFailed("nothing was changed")


def _valid(transaction: Transaction, config: Config, text: str, *, now_s: int) -> list[Found]:
    """The certificates that are meant and can be revoked."""
    certificates = find_certificates(transaction, config, text)
    rows = (transaction.incidents.of_certificate(certificate.sha256) for certificate in certificates)
    valid = [row for row in rows if row is not None and row.not_after_s > now_s]
    if not valid:
        ended = show.moment(certificates[0].not_after_s)
        raise CommandFailed(f"nothing is left to revoke: the last certificate ended by itself at {ended}")
    return valid


def _confirm(config: Config, found: Sequence[Found], reason: CrlReason) -> None:
    used = sum(row.current for row in found)
    what = f"{_count(len(found), 'certificate')} of {found[0].candidate.issuer} will be revoked for ever."
    if reason is CrlReason.KEY_COMPROMISE:
        what += " Every other certificate with the same key is, too, and the key is never accepted again."
    if used:
        what += (
            " The box uses it: browsers that look for revocations refuse its page until it has another certificate,"
            f" which it is told to get at its next call, within {show.span(config.checkin_s)}."
        )
    if used and reason is CrlReason.CESSATION_OF_OPERATION:
        what = (
            what.partition(", which")[0] + ". It gets none because of this: otscert device retire ends its name, too."
        )
    confirm(what)


def _following(config: Config, revoked: Revoked, reason: CrlReason) -> str:
    waiting = [incident.id for incident in revoked.incidents if incident.left]
    if waiting:
        key = " with a new key" if reason is CrlReason.KEY_COMPROMISE else ""
        return (
            f"The box is told to get another certificate{key} at its next call, within {show.span(config.checkin_s)}"
            f" while it is switched on: otscert reissue status {waiting[0]}. Its name and its address work on."
        )
    if reason is CrlReason.CESSATION_OF_OPERATION:
        return "No box is told to get another certificate: otscert device retire ends the name, too."
    return "No box uses it any more, so none has to do anything."


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
