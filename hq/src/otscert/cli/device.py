"""`otscert device`: which boxes there are, everything about one of them, and letting it order again."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Annotated, Any

import typer

from otscert.cli import approval, database, show
from otscert.cli.errors import CommandFailed
from otscert.cli.options import AfterOption, ConfigOption, JsonOption, LimitOption, examples, load_config
from otscert.cli.views import certificate_view, event_view, order_view
from otscert.config import Config
from otscert.domain.device import Device, DeviceEvent, may_order, move
from otscert.domain.names import certificate_names
from otscert.store.certificates import Certificate
from otscert.store.transaction import Transaction

_LAST_ORDERS = 5
_LAST_EVENTS = 10
# Ids are base64url, so one may begin with a hyphen.
_ANY_ID = {"ignore_unknown_options": True}
DeviceArgument = Annotated[str, typer.Argument(metavar="ID", help="The box's id, label, full name or serial number.")]


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
        context_settings=_ANY_ID,
        epilog=examples("otscert device show nifty-babbage-7k2q", "otscert device show SN-0042 --json"),
    )(show_device)
    group.command(
        "rearm",
        short_help="Let a box order again.",
        context_settings=_ANY_ID,
        epilog=examples("otscert device rearm nifty-babbage-7k2q"),
    )(rearm)
    approval.register(group)
    return group


def list_devices(
    config: ConfigOption = None, limit: LimitOption = 100, after: AfterOption = "", *, as_json: JsonOption = False
) -> None:
    """List the boxes, in the order of their ids."""
    loaded = load_config(config)
    found = database.read(loaded, lambda transaction: transaction.devices.page(after_id=after, limit=limit + 1))
    page, more = found[:limit], len(found) > limit
    if as_json:
        views = [_device_view(device, loaded) for device in page]
        show.print_json({"devices": views, "after": page[-1].id if more else None})
        return
    now_s = int(time.time())
    rows = [
        (
            device.label,
            device.model,
            device.state.value if may_order(device).allowed else f"{device.state.value}, no orders",
            show.ago(device.last_seen_s, now_s=now_s),
            " ".join(device.addresses),
        )
        for device in page
    ]
    if not rows:
        typer.echo("No box yet." if not after else "No box after that one.", err=True)
        return
    show.print_table(("label", "model", "state", "seen", "addresses"), rows)
    if more:
        typer.echo(f"There are more: --after {page[-1].id}", err=True)


def show_device(device: DeviceArgument, config: ConfigOption = None, *, as_json: JsonOption = False) -> None:
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


def rearm(device: DeviceArgument, config: ConfigOption = None, *, as_json: JsonOption = False) -> None:
    """Let a box order again: after certificates that were never seen served, or after it was frozen as a clone."""
    loaded = load_config(config)
    seen, changed = database.write(loaded, lambda transaction: _rearm(transaction, loaded, device))
    if as_json:
        show.print_json(_device_view(changed, loaded))
        return
    was = may_order(seen)
    typer.echo(f"{changed.label} may order again." if not was.allowed else f"{changed.label} was {was.reason} already.")


def _rearm(transaction: Transaction, config: Config, text: str) -> tuple[Device, Device]:
    seen = _find(transaction, config, text)
    changed = replace(seen, state=move(seen.state, DeviceEvent.REARM), unserved=0)
    transaction.devices.save(changed, seen_token_hash=seen.ratchet.token_hash)
    transaction.events.append(
        "device.rearmed",
        now_s=int(time.time()),
        device_id=seen.id,
        data={"state": seen.state.value, "unserved": seen.unserved},
    )
    return seen, changed


def _find(transaction: Transaction, config: Config, text: str) -> Device:
    label = text.rstrip(".").lower().removesuffix(f".{config.zone.origin}")
    found = transaction.devices.find(text) or transaction.devices.find(label)
    if found is None:
        raise CommandFailed(
            f"no box has the id, label, name or serial number {show.printable(text)!r}:"
            " otscert device list shows all of them"
        )
    return found


def _whole_view(transaction: Transaction, config: Config, text: str, *, now_s: int) -> dict[str, Any]:
    device = _find(transaction, config, text)
    newest = transaction.certificates.newest(device.id)
    return {
        **_device_view(device, config),
        "certificate": certificate_view(newest, now_s=now_s) if newest else None,
        "serves_newest": _serves(device, newest),
        "orders": [order_view(order) for order in transaction.orders.of_device(device.id, limit=_LAST_ORDERS)],
        "events": [event_view(event) for event in transaction.events.of_device(device.id, limit=_LAST_EVENTS)],
    }


def _device_view(device: Device, config: Config) -> dict[str, Any]:
    permission = may_order(device)
    return {
        "id": device.id,
        "label": device.label,
        "names": list(certificate_names(device.label, config.zone.origin)),
        "model": device.model,
        "serial": device.serial,
        "firmware": device.firmware,
        "state": device.state.value,
        "may_order": permission.allowed,
        "may_order_reason": permission.reason,
        "policy": device.policy,
        "contribution": device.contribution,
        "source": device.source,
        "addresses": list(device.addresses),
        "admitted_at": show.moment(device.admitted_at_s),
        "last_seen_at": show.moment(device.last_seen_s),
        "last_seen_s": device.last_seen_s,
        "served_sha256": device.served_sha256,
        "unserved": device.unserved,
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
        "serial": view["serial"] or "none",
        "state": f"{view['state']}: {view['may_order_reason']}",
        "admitted": f"{view['admitted_at']} by {view['policy']}",
        "randomness": f"HQ's contribution {view['contribution']}, the box's source {view['source']}",
        "last seen": f"{view['last_seen_at']} ({show.ago(view['last_seen_s'], now_s=now_s)})",
    }
    return fields | _certificate_fields(view)


def _certificate_fields(view: dict[str, Any]) -> dict[str, str]:
    certificate = view["certificate"]
    if certificate is None:
        return {"certificate": "none yet"}
    serves = {
        True: "yes, the newest certificate",
        False: f"another one than the newest: SHA-256 {view['served_sha256']}",
        None: "not yet reported",
    }
    renewal = certificate["renewal"]
    return {
        "certificate": f"{certificate['days_left']} days left, until {certificate['not_after']},"
        f" from {certificate['issuer']}",
        "sha256": certificate["sha256"],
        "serves it": serves[view["serves_newest"]],
        "renewal": f"due since {renewal['at']}: {renewal['reason']}"
        if renewal["due"]
        else f"renews from {renewal['at'][:10]} ({renewal['reason']})",
    }
