"""`otscert factory list` and `show`: which batches this HQ has, and what became of a stamped unit.

Shows neither keys nor setup codes.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from otscert.cli import database, factory_options, show
from otscert.cli.device_lookup import device_view, find_unit, unit_view
from otscert.cli.errors import CommandFailed
from otscert.cli.options import ConfigOption, JsonOption, LimitOption, load_config
from otscert.config import Config
from otscert.domain.unit import Unit, UnitState
from otscert.store.transaction import Transaction
from otscert.store.units import BatchCount

AfterOption = Annotated[
    str, typer.Option("--after", help="Go on after this batch; with --batch, after the unit with this short id.")
]


def list_units(
    config: ConfigOption = None,
    batch: Annotated[str, typer.Option("--batch", help="List the units of this batch.")] = "",
    limit: LimitOption = 100,
    after: AfterOption = "",
    *,
    as_json: JsonOption = False,
) -> None:
    """List imported batches with counts, in the order of their names; or a batch's units, by serial number."""
    loaded = load_config(config)
    if batch:
        _list_batch(loaded, batch, limit=limit, after=after, as_json=as_json)
    else:
        _list_batches(loaded, limit=limit, after=after, as_json=as_json)


def show_unit(
    unit: Annotated[str, typer.Argument(metavar="UNIT", help="The unit's serial number or short id.")],
    config: ConfigOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Show a stamped unit: its batch, its state, the box that it is, and whether it is blocked."""
    loaded = load_config(config)
    view = database.read(loaded, lambda transaction: _whole_view(transaction, loaded, unit))
    if as_json:
        show.print_json(view)
        return
    box = view["box"]
    fields = {
        "model": view["model"],
        "serial": view["serial"],
        "short id": view["short_id"],
        "batch": view["batch"],
        "state": view["state"],
        "blocked": _blocked(view),
        "box": f"{box['names'][0]}, {box['state']}, id {box['id']}" if box else "none: it has not enrolled yet",
    }
    show.print_fields(f"Unit {view['serial']}", fields)
    hindrance = factory_options.hindrance(view["model"], loaded)
    if hindrance and not box:
        typer.echo(f"otscert: {hindrance}", err=True)


def _list_batches(loaded: Config, *, limit: int, after: str, as_json: bool) -> None:
    found = database.read(loaded, lambda transaction: transaction.units.batches(after=after, limit=limit + 1))
    page, more = found[:limit], len(found) > limit
    if as_json:
        show.print_json({"batches": [_batch_view(each) for each in page], "after": page[-1].name if more else None})
        return
    if not page:
        nothing = "No batch after that one." if after else "No batch yet: otscert factory import brings one."
        typer.echo(nothing, err=True)
        return
    rows = [
        (
            each.name,
            ", ".join(each.models),
            str(each.units),
            str(each.enrolled),
            ", ".join(f"{count} {state}" for state, count in each.states.items()),
        )
        for each in page
    ]
    show.print_table(("batch", "model", "units", "enrolled", "states"), rows)
    if more:
        typer.echo(f"There are more: --after {page[-1].name}", err=True)


def _list_batch(loaded: Config, batch: str, *, limit: int, after: str, as_json: bool) -> None:
    def select(transaction: Transaction) -> list[Unit]:
        last = find_unit(transaction, after) if after else None
        found = transaction.units.of_batch(batch, after=last, limit=limit + 1)
        if not found and last is None:
            raise CommandFailed(f"no unit here is of batch {show.printable(batch)!r}: otscert factory list shows all")
        return found

    found = database.read(loaded, select)
    page, more = found[:limit], len(found) > limit
    if as_json:
        show.print_json({"units": [unit_view(unit) for unit in page], "after": page[-1].short_id if more else None})
        return
    if not page:
        typer.echo("No unit after that one.", err=True)
        return
    rows = [(unit.serial, unit.short_id, unit.model, unit.state.value, unit.device_id or "") for unit in page]
    show.print_table(("serial", "short id", "model", "state", "box"), rows)
    if more:
        typer.echo(f"There are more: --after {page[-1].short_id}", err=True)


def _batch_view(batch: BatchCount) -> dict[str, Any]:
    return {
        "batch": batch.name,
        "models": list(batch.models),
        "units": batch.units,
        "enrolled": batch.enrolled,
        "states": dict(batch.states),
    }


def _whole_view(transaction: Transaction, loaded: Config, text: str) -> dict[str, Any]:
    unit = find_unit(transaction, text)
    reason = transaction.units.blocked(unit.model, unit.serial)
    device = transaction.devices.get(unit.device_id) if unit.device_id else None
    return {
        **unit_view(unit),
        "blocked": reason is not None or unit.state is UnitState.BLOCKED,
        "serial_blocked": reason,
        "box": device_view(device, loaded) if device else None,
    }


def _blocked(view: dict[str, Any]) -> str:
    reason = view["serial_blocked"]
    if reason is not None:
        return f"yes, its serial number{f': {reason}' if reason else ''}"
    return "yes, HQ's operator took it out of service" if view["blocked"] else "no"
