"""`otscert order`: which certificates are being obtained, and why one of them waits."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from otscert.cli import database, show
from otscert.cli.errors import CommandFailed
from otscert.cli.options import AfterOption, ConfigOption, JsonOption, LimitOption, examples, load_config
from otscert.cli.views import event_view, order_view
from otscert.domain.order import TERMINAL, Order, OrderState
from otscert.store.transaction import Transaction

_BATCH = 500
_EVENTS_LOOKED_AT = 1000

_STATES = ", ".join(OrderState)
StateOption = Annotated[
    str,
    typer.Option("--state", metavar="STATE", help=f"Only orders in this state: {_STATES}."),
]
WaitingOption = Annotated[bool, typer.Option("--waiting", help="Only orders that have not ended.")]


def commands() -> typer.Typer:
    group = typer.Typer(help="The orders: one certificate being obtained, each.", no_args_is_help=True)
    group.command(
        "list",
        short_help="List the orders.",
        epilog=examples("otscert order list --waiting", "otscert order list --state failed --json"),
    )(list_orders)
    group.command(
        "show",
        short_help="One order, and what happened to it.",
        context_settings={"ignore_unknown_options": True},
        epilog=examples("otscert order show ID --json"),
    )(show_order)
    return group


def list_orders(
    config: ConfigOption = None,
    state: StateOption = "",
    limit: LimitOption = 100,
    after: AfterOption = "",
    *,
    waiting: WaitingOption = False,
    as_json: JsonOption = False,
) -> None:
    """List orders, in the order of their ids."""
    chosen = _state(state)
    loaded = load_config(config)

    def select(transaction: Transaction) -> list[Order]:
        found = []
        for order in _all_after(transaction, after):
            if (chosen is None or order.state is chosen) and not (waiting and order.state in TERMINAL):
                found.append(order)
                if len(found) > limit:
                    break
        return found

    found = database.read(loaded, select)
    page, more = found[:limit], len(found) > limit
    if as_json:
        show.print_json({"orders": [order_view(order) for order in page], "after": page[-1].id if more else None})
        return
    if not page:
        typer.echo(_none(waiting=waiting, chosen=bool(chosen or after)), err=True)
        return
    now_s = int(time.time())
    rows = [
        (
            order.id,
            order.label,
            order.state.value,
            _next(order, now_s=now_s),
            show.unless_same(order.reason, order.state.value),
        )
        for order in page
    ]
    show.print_table(("id", "label", "state", "next try", "reason"), rows)
    if more:
        typer.echo(f"There are more: --after {page[-1].id}", err=True)


def show_order(
    order: Annotated[str, typer.Argument(metavar="ID", help="The order's id.")],
    config: ConfigOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Show an order: its state with the reason, its next attempt, and what happened to it."""
    loaded = load_config(config)
    view = database.read(loaded, lambda transaction: _whole_view(transaction, order))
    if as_json:
        show.print_json(view)
        return
    fields = {
        "names": "  ".join(view["names"]),
        "state": ": ".join(filter(None, (view["state"], show.unless_same(view["reason"], view["state"])))),
        "next attempt": view["next_at"] or "none, it has ended",
        "attempts": str(view["attempt"]),
        "created": view["created_at"],
        "issuer": f"{view['issuer']}, profile {view['profile'] or 'as configured'}",
        "at the CA": view["url"] or "not known there yet",
        "certificate": view["certificate_sha256"] or "none",
        "replaces": f"the certificate with the ARI id {view['replaces']}" if view["replaces"] else "none",
        "box": f"{view['label']}, id {view['device']}",
    }
    show.print_fields(f"Order {view['id']}", fields)
    if view["events"]:
        typer.echo("\nEvents")
        show.print_table(("at", "event", "details"), show.event_rows(view["events"]))


def _whole_view(transaction: Transaction, order_id: str) -> dict[str, Any]:
    order = transaction.orders.get(order_id)
    if order is None:
        raise CommandFailed(f"no order has the id {show.printable(order_id)!r}: otscert order list shows all of them")
    events = transaction.events.of_device(order.device_id, limit=_EVENTS_LOOKED_AT)
    return {**order_view(order), "events": [event_view(event) for event in events if event.order_id == order.id]}


def _all_after(transaction: Transaction, after_id: str) -> Iterator[Order]:
    while batch := transaction.orders.page(after_id=after_id, limit=_BATCH):
        yield from batch
        after_id = batch[-1].id


def _state(text: str) -> OrderState | None:
    if not text:
        return None
    try:
        return OrderState(text.lower())
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no state of an order: {_STATES}", param_hint="--state") from None


def _none(*, waiting: bool, chosen: bool) -> str:
    if chosen:
        return "No such order."
    return "No order is waiting." if waiting else "No order yet."


def _next(order: Order, *, now_s: int) -> str:
    if order.state in TERMINAL:
        return ""
    return "now" if order.next_at_s <= now_s else show.ago(order.next_at_s, now_s=now_s)
