"""`otscert device`: which boxes there are, and everything about one of them."""

from __future__ import annotations

import time
from typing import Any

import typer

from otscert.cli import approval, database, lifecycle, show
from otscert.cli.device_lookup import device_view, find_device
from otscert.cli.options import AfterOption, ConfigOption, JsonOption, LimitOption, examples, load_config
from otscert.cli.views import certificate_view, ended_certificate_view, event_view, order_view
from otscert.config import Config
from otscert.domain.device import Device, Retired, may_order
from otscert.service.recalls import recall_of
from otscert.store.certificates import Certificate
from otscert.store.transaction import Transaction

_LAST_ORDERS = 5
_LAST_EVENTS = 10
_ENDED = {
    Retired.RESET: "ended: reset",
    Retired.TRANSFER: "ended: transferred",
    Retired.REPLACED: "ended: replaced",
    Retired.REMOVED: "ended: retired",
}


def commands() -> typer.Typer:
    group = typer.Typer(help="The boxes that HQ knows.", no_args_is_help=True)
    group.command(
        "list",
        short_help="List the boxes.",
        epilog=examples("otscert device list --limit 20", "otscert device list --json"),
    )(list_devices)
    group.command(
        "show",
        short_help="Everything about one box.",
        context_settings=lifecycle.ANY_ID,
        epilog=examples("otscert device show nifty-babbage-7k2q", "otscert device show SN-0042 --json"),
    )(show_device)
    lifecycle.register(group)
    approval.register(group)
    return group


def list_devices(
    config: ConfigOption = None, limit: LimitOption = 100, after: AfterOption = "", *, as_json: JsonOption = False
) -> None:
    """List the boxes, in the order of their ids."""
    loaded = load_config(config)
    found = database.read(loaded, lambda transaction: _page(transaction, after=after, limit=limit + 1))
    page, more = found[:limit], len(found) > limit
    last_id = page[-1][0].id if page else ""
    if as_json:
        views = [{**device_view(device, loaded), "serial_blocked": blocked} for device, blocked in page]
        show.print_json({"devices": views, "after": last_id if more else None})
        return
    now_s = int(time.time())
    rows = [
        (
            device.label,
            device.model,
            _state(device, blocked=blocked is not None),
            show.ago(device.last_seen_s, now_s=now_s),
            " ".join(device.addresses),
        )
        for device, blocked in page
    ]
    if not rows:
        typer.echo("No box yet." if not after else "No box after that one.", err=True)
        return
    show.print_table(("label", "model", "state", "seen", "addresses"), rows)
    if more:
        typer.echo(f"There are more: --after {last_id}", err=True)


def _blocked(transaction: Transaction, device: Device) -> str | None:
    """Why its serial number is blocked, which may be empty; None when it is not."""
    return transaction.units.blocked(device.model, device.serial) if device.serial is not None else None


def _page(transaction: Transaction, *, after: str, limit: int) -> list[tuple[Device, str | None]]:
    """Boxes with the reason for which their serial number is blocked, if it is."""
    devices = transaction.devices.page(after_id=after, limit=limit)
    return [(device, _blocked(transaction, device)) for device in devices]


def _state(device: Device, *, blocked: bool) -> str:
    if device.retired is not None:
        state = _ENDED[device.retired]
    else:
        state = device.state.value if may_order(device).allowed else f"{device.state.value}, no orders"
    return f"{state}, serial BLOCKED" if blocked else state


def show_device(device: lifecycle.BoxArgument, config: ConfigOption = None, *, as_json: JsonOption = False) -> None:
    """Show a box: who let it in, what it serves, when it renews and why, its last orders and events."""
    loaded, now_s = load_config(config), int(time.time())
    view = database.read(loaded, lambda transaction: _whole_view(transaction, loaded, device, now_s=now_s))
    if as_json:
        show.print_json(view)
        return
    show.print_fields(view["names"][0], _fields(view, now_s=now_s))
    if view["orders"]:
        typer.echo("\nLast orders")
        rows = [
            (order["id"], order["created_at"], order["state"], show.unless_same(order["reason"], order["state"]))
            for order in view["orders"]
        ]
        show.print_table(("id", "created", "state", "reason"), rows)
    if view["events"]:
        typer.echo("\nLast events")
        show.print_table(("at", "event", "details"), show.event_rows(view["events"]))


def _whole_view(transaction: Transaction, config: Config, text: str, *, now_s: int) -> dict[str, Any]:
    device = find_device(transaction, config, text)
    newest = transaction.certificates.newest(device.id)
    ended = None if newest else transaction.certificates.last(device.id)
    return {
        **device_view(device, config),
        "serial_blocked": _blocked(transaction, device),
        "certificate": certificate_view(newest, now_s=now_s, recall=recall_of(transaction, newest)) if newest else None,
        "ended_certificate": ended_certificate_view(ended, transaction.revocations.outcome(ended.sha256), now_s=now_s)
        if ended
        else None,
        "serves_newest": _serves(device, newest),
        "orders": [order_view(order) for order in transaction.orders.of_device(device.id, limit=_LAST_ORDERS)],
        "events": [event_view(event) for event in transaction.events.of_device(device.id, limit=_LAST_EVENTS)],
    }


def _serves(device: Device, newest: Certificate | None) -> bool | None:
    """Whether the box was seen serving its newest certificate; None while there is nothing to compare."""
    if newest is None or device.served_sha256 is None:
        return None
    return device.served_sha256 == newest.sha256


def _fields(view: dict[str, Any], *, now_s: int) -> dict[str, str]:
    fields = {
        "names": "  ".join(view["names"]),
        "addresses": " ".join(view["addresses"]) or "none",
        "id": view["id"],
        "model": f"{view['model']}, firmware {view['firmware']}",
        "serial": _serial(view),
        "state": f"{view['state']}: {view['may_order_reason']}" + (f" ({view['retired']})" if view["retired"] else ""),
        "in DNS": "yes" if view["in_dns"] else "no",
        "admitted": f"{view['admitted_at']} by {view['policy']}"
        + (f", tagged {' '.join(view['tags'])}" if view["tags"] else ""),
        "randomness": f"HQ's contribution {view['contribution']}, the box's source {view['source']}",
        "last seen": f"{view['last_seen_at']} ({show.ago(view['last_seen_s'], now_s=now_s)})",
    }
    return fields | _certificate_fields(view)


def _serial(view: dict[str, Any]) -> str:
    serial, reason = view["serial"] or "none", view["serial_blocked"]
    return serial if reason is None else f"{serial}, BLOCKED" + (f": {reason}" if reason else "")


def _ended_fields(view: dict[str, Any]) -> dict[str, str]:
    none = "none" if view["retired"] else "none yet"
    ended = view["ended_certificate"]
    if ended is None:
        return {"certificate": none}
    return {"certificate": f"{none}; its last one, from {ended['issuer']}: {ended['state']}", "sha256": ended["sha256"]}


def _certificate_fields(view: dict[str, Any]) -> dict[str, str]:
    certificate = view["certificate"]
    if certificate is None:
        return _ended_fields(view)
    serves = {
        True: "yes, the newest certificate",
        False: f"another one than the newest: SHA-256 {view['served_sha256']}",
        None: "not yet reported",
    }
    renewal = certificate["renewal"]
    fields = {
        "certificate": f"{certificate['days_left']} days left, until {certificate['not_after']},"
        f" from {certificate['issuer']}",
        "sha256": certificate["sha256"],
        "serves it": serves[view["serves_newest"]],
        "renewal": f"due since {renewal['at']}: {renewal['reason']}"
        if renewal["due"]
        else f"renews from {renewal['at'][:10]} ({renewal['reason']})",
    }
    window = renewal["window"]
    if window is None:
        return fields
    fields["CA's window"] = f"{window['start']} to {window['end']}, of which {window['chosen']} was chosen"
    return fields | ({"CA explains": window["explanation"]} if window["explanation"] else {})
