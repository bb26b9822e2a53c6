"""`otscert reissue` carried out: look through the fleet in pages, beside a running HQ, and mark or only count."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import typer

from otscert.cli import database, show
from otscert.cli.cert_revoke import check_text, confirm, new_id, reason_option
from otscert.cli.certificate_lookup import find_certificates
from otscert.cli.errors import CommandFailed
from otscert.cli.options import load_config
from otscert.cli.progress import Progress
from otscert.cli.reissue_forecast import forecast, forecast_view
from otscert.cli.reissue_status import status_document
from otscert.config import Config
from otscert.domain.recall import (
    Asked,
    CrlReason,
    Where,
    WhereError,
    describe,
    in_words,
    parse_serials,
    parse_where,
)
from otscert.service import incidents
from otscert.store.incidents import Found, Incident
from otscert.store.transaction import Transaction

_SHOWN = 10
_LONGEST_KEY = 64


@dataclass(slots=True, kw_only=True)
class Selected:
    """What a look through the fleet found."""

    shares: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Certificates in use by issuer and model."""
    idle: int = 0
    sample: list[Found] = field(default_factory=list)

    def add(self, page: incidents.Page) -> None:
        for found in page.found:
            if not found.current:
                self.idle += 1
                continue
            self.shares[found.candidate.issuer, found.candidate.model] += 1
            if len(self.sample) < _SHOWN:
                self.sample.append(found)

    @property
    def count(self) -> int:
        return self.shares.total()


def reissue(
    config: Path | None, texts: Sequence[str], reason: str, revoke_text: str, *, dry_run: bool, yes: bool, as_json: bool
) -> None:
    """Mark what fits, or say what would be; raises `CommandFailed`."""
    revoke = reason_option(revoke_text, "--revoke") if revoke_text else None
    check_text(reason, "--reason")
    asked = _asked(texts)
    loaded = load_config(config)
    where, serials = _looked_up(loaded, asked)
    if dry_run:
        _say_what_would_be(loaded, where, asyncio.run(_count(loaded, where, serials)), as_json=as_json)
        return
    if not yes:
        if as_json:
            raise CommandFailed("--json asks nothing: give --yes, or --dry-run to see what would be replaced")
        confirm(_question(loaded, where, asyncio.run(_count(loaded, where, serials)), revoke))
    begun, incident = asyncio.run(_mark(loaded, where, serials, reason=reason, revoke=revoke))
    _say_what_is(loaded, begun, incident, as_json=as_json)


def _question(config: Config, where: Where, selected: Selected, revoke: CrlReason | None) -> str:
    """What happens when somebody says yes."""
    expected = forecast(config, selected.shares)
    span = forecast_view(expected, now_s=_now_s())["span"]
    what = (
        f"{selected.count:,} certificates that boxes use are replaced before their time ({in_words(where)}), which"
        f" takes {span}: {expected.reason}."
    )
    if revoke is CrlReason.KEY_COMPROMISE:
        what += (
            " They are revoked at once, before the boxes have others: browsers that look for revocations refuse their"
            " pages until then. Their keys are never accepted again."
        )
    elif revoke is not None:
        what += f" Each is revoked after that ({revoke.word}), and so are {selected.idle:,} now that no box uses."
    return what


def _asked(texts: Sequence[str]) -> Asked:
    try:
        return parse_where(texts)
    except WhereError as error:
        raise typer.BadParameter(str(error), param_hint="--where") from None


def _looked_up(config: Config, asked: Asked) -> tuple[Where, list[str]]:
    """The selection with its key and its list of serial numbers."""
    key = serials = None
    if asked.serial_list is not None:
        serials = _serials(Path(asked.serial_list))
    if asked.key is not None:
        key = database.read(config, lambda transaction: _key(transaction, config, asked.key or ""))
    where = asked.where
    if where.issuer is not None and where.issuer not in {issuer.name for issuer in config.issuers}:
        typer.echo(f"Note: the configuration has no issuer {show.printable(where.issuer)!r} any more.", err=True)
    if where.model is not None and where.model not in config.models:
        if not database.read(config, lambda transaction: transaction.incidents.devices(where.model)):
            raise CommandFailed(f"there is no model {show.printable(where.model)!r}: otscert model list shows them")
        typer.echo(f"Note: the configuration has no model {show.printable(where.model)!r} any more.", err=True)
    return (
        Where(
            issuer=where.issuer,
            model=where.model,
            key=key,
            serials=describe(serials) if serials is not None else None,
            issued_from_s=where.issued_from_s,
            issued_until_s=where.issued_until_s,
        ),
        serials or [],
    )


def _serials(path: Path) -> list[str]:
    try:
        return parse_serials(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CommandFailed(f"the list {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise CommandFailed(f"the list {path} is no text: one serial number a line, in hexadecimal") from error
    except WhereError as error:
        raise CommandFailed(f"the list {path}: {error}") from error


def _key(transaction: Transaction, config: Config, text: str) -> bytes:
    """A key by the SHA-256 of its SubjectPublicKeyInfo, or as the key of a box's newest certificate."""
    plain = text.replace(":", "").lower()
    if len(plain) == _LONGEST_KEY:
        try:
            key = bytes.fromhex(plain)
        except ValueError:
            key = b""
        if key and transaction.incidents.of_key(key, now_s=0):
            return key
        if key and transaction.certificates.get(plain) is None:
            raise CommandFailed(f"no certificate has a key with the SHA-256 {plain} (of the SubjectPublicKeyInfo)")
    return find_certificates(transaction, config, text)[0].spki_sha256


async def _count(config: Config, where: Where, serials: Sequence[str]) -> Selected:
    store, selected, place = database.open_store(config), Selected(), ""
    progress = Progress()
    try:
        total = await store.read(partial(_total, where=where, serials=serials))
        looked_at = 0
        while True:
            work = partial(incidents.look, where=where, serials=serials, place=place, now_s=_now_s())
            page = await store.read(work)
            selected.add(page)
            if page.place is None:
                return selected
            place, looked_at = page.place, looked_at + incidents.AT_ONCE
            progress("looked through", min(looked_at, total), total)
    finally:
        progress.finish()
        await store.close()


async def _mark(
    config: Config, where: Where, serials: Sequence[str], *, reason: str, revoke: CrlReason | None
) -> tuple[incidents.Begun, Incident]:
    store, progress = database.open_store(config), Progress()
    try:
        total = await store.read(partial(_total, where=where, serials=serials))
        begun = await store.write(
            lambda transaction: incidents.begin(
                transaction, where, revoke=revoke, reason=reason, now_s=_now_s(), new_id=new_id
            )
        )
        looked_at = 0
        while True:
            began_s = time.monotonic()
            work = partial(incidents.mark_page, incident_id=begun.incident.id, serials=serials, now_s=_now_s())
            incident = await store.write(work)
            if incident is None:
                raise CommandFailed(
                    f"the incident {begun.incident.id} was ended meanwhile; what it has marked is let go"
                )
            if incident.marked_s is not None:
                return begun, incident
            looked_at += incidents.AT_ONCE
            progress("looked through", min(looked_at, total), total)
            # A running HQ writes to the same database: it gets as much of the time as this does.
            await asyncio.sleep(time.monotonic() - began_s)
    finally:
        progress.finish()
        await store.close()


def _total(transaction: Transaction, *, where: Where, serials: Sequence[str]) -> int:
    return len(serials) or transaction.incidents.devices(where.model)


def _say_what_would_be(config: Config, where: Where, selected: Selected, *, as_json: bool) -> None:
    expected = forecast(config, selected.shares)
    document: dict[str, Any] = {
        "where": in_words(where),
        "count": selected.count,
        "idle": selected.idle,
        "shares": [
            {"issuer": issuer, "model": model, "count": count}
            for (issuer, model), count in sorted(selected.shares.items())
        ],
        "forecast": forecast_view(expected, now_s=_now_s()),
        "sample": [
            {
                "sha256": found.candidate.sha256,
                "serial": found.serial,
                "device": found.device_id,
                "issuer": found.candidate.issuer,
                "model": found.candidate.model,
                "issued_at": show.moment(found.candidate.issued_at_s),
                "not_after": show.moment(found.not_after_s),
            }
            for found in selected.sample
        ],
    }
    if as_json:
        show.print_json(document)
        return
    typer.echo(f"{selected.count:,} certificates that boxes use would be replaced ({document['where']}).")
    if selected.idle:
        typer.echo(f"{selected.idle:,} more fit that no box uses any more: they would be revoked if --revoke is given.")
    if not selected.count:
        return
    rows = [(each["issuer"], each["model"], f"{each['count']:,}") for each in document["shares"]]
    show.print_table(("issuer", "model", "certificates"), rows)
    typer.echo(f"It takes {document['forecast']['span']}: {expected.reason}. Boxes that are switched off come later.")
    typer.echo("\nSome of them")
    sample = [
        (each["device"], each["sha256"][:12], each["issued_at"], each["not_after"]) for each in document["sample"]
    ]
    show.print_table(("box", "sha256 begins", "issued", "ends"), sample)


def _say_what_is(config: Config, begun: incidents.Begun, incident: Incident, *, as_json: bool) -> None:
    document = status_document(config, incident)
    if as_json:
        show.print_json({"again": begun.again, **document})
        return
    went_on = "goes on" if begun.again else "has begun"
    typer.echo(f"Incident {incident.id} {went_on}: {incident.count:,} certificates are to be replaced.")
    if incident.idle and incident.revoke_reason is not None:
        typer.echo(f"{incident.idle:,} more that no box uses any more are revoked now.")
    if incident.left:
        expected = document["forecast"]
        typer.echo(
            f"It takes {expected['span']}: {expected['reason']}. Boxes serve what they have until then; those that are"
            f" switched off come later. How far it is: otscert reissue status {incident.id}"
        )
    else:
        typer.echo("No box has to do anything.")


def _now_s() -> int:
    return int(time.time())
