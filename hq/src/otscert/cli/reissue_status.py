"""`otscert reissue status` and `end` carried out."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from pathlib import Path
from typing import Any

import typer

from otscert.cli import database, show
from otscert.cli.errors import CommandFailed
from otscert.cli.options import load_config
from otscert.cli.progress import Progress
from otscert.cli.reissue_forecast import forecast, forecast_view
from otscert.config import Config
from otscert.domain.recall import CrlReason, Where, from_json, in_words
from otscert.service import incidents
from otscert.service.incident_progress import Doing, Tally, offline_after_s
from otscert.store.incidents import Incident, Marked
from otscert.store.transaction import Transaction

_LAST = 20
_PAGE = 1000


def status(config: Path | None, incident_id: str, *, as_json: bool) -> None:
    """Show one incident, or the last ones; raises `CommandFailed`."""
    loaded = load_config(config)
    if not incident_id:
        _list(loaded, as_json=as_json)
        return
    incident = database.read(loaded, lambda transaction: transaction.incidents.get(incident_id))
    if incident is None:
        raise _unknown(incident_id)
    document = status_document(loaded, incident)
    if as_json:
        show.print_json(document)
        return
    fields = {
        "certificates": document["where"],
        "reason": document["reason"] or "none was given",
        "revoked afterwards": document["revoke"] or "no",
        "started": document["started_at"],
        "state": _state(incident),
        "marked": f"{incident.count:,}",
        "replaced": f"{incident.replaced:,}",
        "ended without it": f"{incident.released:,}",
        **{name: f"{count:,}" for name, count in document["doing"].items()},
    }
    if incident.left and incident.ended_s is None:
        expected = document["forecast"]
        fields["forecast"] = f"{expected['span']}: {expected['reason']}"
    show.print_fields(f"Incident {incident.id}", fields)
    if document["failed"]:
        typer.echo("\nA person has to look at these: otscert device show LABEL")
        show.print_table(("label", "id"), [(each["label"], each["device"]) for each in document["failed"]])


def end(config: Path | None, incident_id: str, *, as_json: bool) -> None:
    """End an incident; raises `CommandFailed`."""
    loaded, now_s = load_config(config), int(time.time())

    def work(transaction: Transaction) -> tuple[Incident, bool]:
        before = transaction.incidents.get(incident_id)
        ended = incidents.end(transaction, incident_id, now_s=now_s, by_itself=False)
        if before is None or ended is None:
            raise _unknown(incident_id)
        return ended, before.ended_s is None

    incident, changed = database.write(loaded, work)
    done = f"Incident {incident.id} is over." if changed else f"Incident {incident.id} was over already."
    left = f"{incident.left:,} certificates were not replaced: their boxes renew them in their time." * bool(
        incident.left
    )
    if as_json:
        view = incident_view(incident, from_json(incident.filter))
        show.print_json({**view, "changed": changed, "done": done, "next": left})
        return
    for sentence in filter(None, (done, left)):
        typer.echo(sentence)


def incident_view(incident: Incident, where: Where) -> dict[str, Any]:
    """An incident as JSON."""
    return {
        "id": incident.id,
        "reason": incident.reason,
        "where": in_words(where),
        "revoke": CrlReason(incident.revoke_reason).word if incident.revoke_reason is not None else None,
        "started_at": show.moment(incident.started_s),
        "looked_through_at": show.moment(incident.marked_s) if incident.marked_s is not None else None,
        "ended_at": show.moment(incident.ended_s) if incident.ended_s is not None else None,
        "marked": incident.count,
        "idle": incident.idle,
        "replaced": incident.replaced,
        "released": incident.released,
        "left": incident.left,
    }


def status_document(config: Config, incident: Incident) -> dict[str, Any]:
    """An incident with what its boxes are doing, and when it will be over."""
    now_s = int(time.time())
    tally = Tally() if incident.ended_s is not None else asyncio.run(_tally(config, incident, now_s=now_s))
    return {
        **incident_view(incident, from_json(incident.filter)),
        "doing": {doing.value: tally.doing[doing] for doing in Doing},
        "failed": [{"device": each.device_id, "label": each.label} for each in tally.failed],
        "forecast": forecast_view(forecast(config, tally.issuers), now_s=now_s),
    }


async def _tally(config: Config, incident: Incident, *, now_s: int) -> Tally:
    store, tally, place, progress = database.open_store(config), Tally(), ("", ""), Progress()
    offline_s, looked_at = offline_after_s(config.checkin_s), 0
    try:
        while True:
            page = await store.read(partial(_page, incident_id=incident.id, after=place))
            tally.add(page, incident, now_s=now_s, offline_s=offline_s)
            if len(page) < _PAGE:
                return tally
            place, looked_at = (page[-1].device_id, page[-1].sha256), looked_at + len(page)
            progress("looked at", min(looked_at, incident.left), incident.left)
    finally:
        progress.finish()
        await store.close()


def _page(transaction: Transaction, *, incident_id: str, after: tuple[str, str]) -> list[Marked]:
    return transaction.incidents.marked(incident_id, after=after, limit=_PAGE)


def _list(config: Config, *, as_json: bool) -> None:
    found = database.read(config, lambda transaction: transaction.incidents.page(limit=_LAST))
    if as_json:
        show.print_json({"incidents": [incident_view(each, from_json(each.filter)) for each in found]})
        return
    if not found:
        typer.echo("There was no incident yet.", err=True)
        return
    rows = [
        (each.id, show.moment(each.started_s), f"{each.replaced:,} of {each.count:,}", _state(each), each.reason)
        for each in found
    ]
    show.print_table(("id", "started", "replaced", "state", "reason"), rows)


def _state(incident: Incident) -> str:
    if incident.ended_s is not None:
        return f"over since {show.moment(incident.ended_s)}" + (f", {incident.left:,} left" if incident.left else "")
    if incident.marked_s is None:
        return "interrupted while it looked through the fleet: give the same command again"
    return f"running, {incident.left:,} left" if incident.left else "running, all are done: it ends by itself"


def _unknown(incident_id: str) -> CommandFailed:
    return CommandFailed(
        f"no incident has the id {show.printable(incident_id)!r}: otscert reissue status shows the last"
    )
