"""A person decides on the command line: the box is shown, the person is asked, the answer is written down."""

from __future__ import annotations

from collections.abc import Callable

import typer

from otscert.cli import database, show
from otscert.cli.errors import CommandFailed
from otscert.cli.views import request_view
from otscert.config import Config
from otscert.domain import setup_code
from otscert.domain.admission import Answer
from otscert.domain.unit import Unit
from otscert.pki.files import PkiFolder
from otscert.service import approval
from otscert.service.approval import Confirmer, Missed, Place
from otscert.service.context import names_secret
from otscert.store.requests import AdmissionRequest
from otscert.store.transaction import Transaction

Find = Callable[[Config, Confirmer], AdmissionRequest]
"""Looks for the box that a person means; raises `CommandFailed` when there is none."""


def by_pairing_code(typed: str) -> Find:
    def find(config: Config, confirmer: Confirmer) -> AdmissionRequest:
        secret = names_secret(PkiFolder(folder=config.pki_dir).store_key())
        return _search(
            config,
            confirmer,
            lambda transaction: approval.find_by_pairing_code(transaction, typed, confirmer, secret=secret),
            counter=approval.PAIRING,
        )

    return find


def by_setup_code(typed: str, *, unit: str) -> Find:
    def find(config: Config, confirmer: Confirmer) -> AdmissionRequest:
        units = database.read(config, lambda transaction: transaction.units.named(unit))
        # Units of two models may have the same serial number: the code says which one is meant.
        meant = next((each for each in units if _fits(typed, each)), None)
        named = meant or next(iter(units), None)
        return _search(
            config,
            confirmer,
            lambda transaction: approval.find_by_setup_code(transaction, named, confirmer, right=meant is not None),
            counter=approval.setup_counter(named),
        )

    return find


def _fits(typed: str, unit: Unit) -> bool:
    return setup_code.matches(typed, model=unit.model, serial=unit.serial, setup_hash=unit.setup_hash)


def decide(
    config: Config,
    confirmer: Confirmer,
    find: Find,
    answer: Answer,
    *,
    yes: bool,
    as_json: bool,
) -> None:
    """Find the box, show it, ask unless `yes`, and write the answer down."""
    if as_json and not yes:
        raise typer.BadParameter("needs --yes, for nothing can be asked", param_hint="--json")
    found = find(config, confirmer)
    compared = approval.place(found, confirmer)
    if not as_json:
        _show(found, confirmer, compared)
        question = "Let this box in?" if answer is Answer.YES else "Refuse this box for good?"
        if not yes and not _confirmed(question):
            typer.echo("Nothing was changed.", err=True)
            raise typer.Exit(1)
    decided = _found(database.write(config, lambda transaction: approval.decide(transaction, found, answer, confirmer)))
    if as_json:
        show.print_json({**request_view(decided), "place": compared.value})
        return
    said = "Approved: it gets its certificate when it asks again" if answer is Answer.YES else "Refused: it is told so"
    typer.echo(f"{said}, within a minute while it is switched on.")


def _confirmed(question: str) -> bool:
    """Whether the person said yes; no answer at all is a no."""
    try:
        return typer.confirm(question)
    except typer.Abort:
        typer.echo()
        return False


def _search(
    config: Config, confirmer: Confirmer, find: Callable[[Transaction], AdmissionRequest | Missed], *, counter: str
) -> AdmissionRequest:
    """Look at the tries by reading before anything is written."""
    missed = database.read(config, lambda transaction: approval.may_try(transaction, confirmer, counter=counter))
    return _found(missed or database.write(config, find))


def _found(result: AdmissionRequest | Missed) -> AdmissionRequest:
    if isinstance(result, Missed):
        raise CommandFailed(result.reason)
    return result


def _show(request: AdmissionRequest, confirmer: Confirmer, compared: Place) -> None:
    now_s = confirmer.now_s
    show.print_fields(
        "A box waits for you",
        {
            "model": f"{request.model}, firmware {request.firmware}",
            "serial": request.serial or "none",
            "asked": f"{show.moment(request.asked_at_s)} ({show.ago(request.asked_at_s, now_s=now_s)})",
            "last seen": show.ago(request.seen_at_s, now_s=now_s),
            "address": request.address,
            "your address": {
                Place.SAME: f"{confirmer.address}, the same",
                Place.OTHER: f"{confirmer.address}, ANOTHER ONE",
                Place.UNKNOWN: "nothing to compare"
                + (": --from ADDRESS was not given" if confirmer.address is None else f": {confirmer.address}"),
            }[compared],
        },
    )
    if compared is Place.OTHER:
        typer.echo(
            "WARNING: this box calls from another network than you. If it is not in front of you, somebody may want"
            " you to approve a box of theirs.",
            err=True,
        )
