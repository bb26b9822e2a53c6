"""The life-cycle commands carried out: find the box, do it in one transaction, say what happens next and what works."""

from __future__ import annotations

import getpass
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import typer

from otscert.cli import database, show
from otscert.cli.device_lookup import device_view, find_box, find_one, unit_view
from otscert.cli.errors import CommandFailed
from otscert.cli.options import load_config
from otscert.config import Config
from otscert.domain import setup_code
from otscert.domain.device import Device, DeviceState, Retired, may_order
from otscert.domain.unit import Unit
from otscert.service import approval, lifecycle
from otscert.service.approval import Confirmer, Missed
from otscert.service.lifecycle import Done, NotPossible
from otscert.store.transaction import Transaction

_DNS = "A running HQ takes the name out of DNS within seconds; resolvers may remember it for its TTL."
_ALIKE_SHOWN = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What was done, what happens next, what still works: sentences for people."""

    done: str
    next: str
    works: str = ""


def rearm(config: Path | None, text: str, *, same_board: bool, as_json: bool) -> None:
    loaded = load_config(config)
    seen: list[Device | None] = []

    def work(transaction: Transaction) -> Done:
        device, unit = find_box(transaction, loaded, text)
        seen[:] = [device]
        return lifecycle.rearm(transaction, device, unit, same_board=same_board, now_s=_now_s())

    done = _act(loaded, work)
    _say(loaded, done, _rearmed(seen[0], done), as_json=as_json)


def quarantine(config: Path | None, text: str, *, reason: str, as_json: bool) -> None:
    loaded = load_config(config)
    done = _act(
        loaded,
        lambda transaction: lifecycle.quarantine(
            transaction, find_one(transaction, loaded, text), reason=reason, now_s=_now_s()
        ),
    )
    label = _device(done).label
    said = Said(
        done=f"{label} is quarantined." if done.changed else f"{label} was quarantined already.",
        next="It gets no certificates, and its unit cannot start over, until otscert device rearm.",
        works="Its name stays in DNS, its certificate works until it ends; the box may check in.",
    )
    _say(loaded, done, said, as_json=as_json)


def reset(config: Path | None, text: str, *, as_json: bool) -> None:
    loaded = load_config(config)
    done = _end(loaded, text, Retired.RESET)
    _say(loaded, done, _started_over(loaded, done, "reset"), as_json=as_json)


def transfer(config: Path | None, text: str, typed: str | None, confirmer: Confirmer, *, as_json: bool) -> None:
    loaded = load_config(config)
    if typed is None:
        typer.echo(
            "WARNING: without the setup code nobody has shown you that he has the box. If he does not have it, this"
            " takes the name away from whoever does.",
            err=True,
        )
    else:
        _check_code(loaded, text, _read_code() if typed == "-" else typed, confirmer)
    done = _end(loaded, text, Retired.TRANSFER, by=confirmer.account)
    _say(loaded, done, _started_over(loaded, done, "transferred"), as_json=as_json)


def retire(config: Path | None, text: str, *, as_json: bool) -> None:
    loaded = load_config(config)
    done = _end(loaded, text, Retired.REMOVED)
    label = _device(done).label
    unit = (
        " Its factory key may not enrol again, until otscert device rearm with its serial number." if done.unit else ""
    )
    said = Said(
        done=f"{label} is retired; the name is nobody's for ever." if done.changed else f"{label} was retired already.",
        next=f"{_DNS} The box is told to stop at its next call.{unit}",
        works=_certificates(loaded, _device(done)),
    )
    _say(loaded, done, said, as_json=as_json)


def block_serial(config: Path | None, model: str, serial: str, *, reason: str, as_json: bool) -> None:
    loaded = load_config(config)
    if model not in loaded.models:
        raise CommandFailed(_no_model(loaded, model))

    def work(transaction: Transaction) -> tuple[str | None, bool, list[Device]]:
        before = transaction.units.blocked(model, serial)
        changed = lifecycle.block_serial(transaction, model, serial, reason=reason, now_s=_now_s())
        alike = transaction.devices.of_serial(serial, limit=_ALIKE_SHOWN)
        return before, changed, [device for device in alike if device.model == model and device.retired is None]

    before, changed, alike = database.write(loaded, work)
    said = Said(
        done=_blocked(f"Serial number {serial} of {model}", before, reason, changed=changed),
        next="A box with it is refused when it says hello, the first time and at each renewal.",
        works="".join(
            f"{device.label} has it: its name and certificate work until the certificate ends;"
            " otscert device retire takes both away. "
            for device in alike
        ).strip(),
    )
    devices = [device_view(device, loaded) for device in alike]
    _print({"model": model, "serial": serial, "changed": changed, "devices": devices}, said, as_json=as_json)


def unblock_serial(config: Path | None, model: str, serial: str, *, as_json: bool) -> None:
    loaded = load_config(config)
    changed = database.write(
        loaded, lambda transaction: lifecycle.unblock_serial(transaction, model, serial, now_s=_now_s())
    )
    said = Said(
        done=f"Serial number {serial} of {model} is not blocked any more."
        if changed
        else f"Serial number {serial} of {model} was not blocked.",
        next="Boxes with it are admitted by the model's policies; one that was refused asks again within a day."
        if changed
        else "Nothing was changed" + ("." if model in loaded.models else f": {_no_model(loaded, model)}."),
    )
    _print({"model": model, "serial": serial, "changed": changed}, said, as_json=as_json)


def _no_model(config: Config, model: str) -> str:
    return f"there is no model {show.printable(model)!r}; this HQ has {', '.join(sorted(config.models))}"


def _blocked(what: str, before: str | None, reason: str, *, changed: bool) -> str:
    if before is None:
        return f"{what} is blocked."
    if not changed:
        return f"{what} was blocked already" + (f": {before}." if before else ".")
    return f"{what} was blocked already" + (f" ({before})" if before else "") + f"; the reason is now: {reason}."


def confirmer(account: str, address: str) -> Confirmer:
    """Who transfers; raises `typer.BadParameter` for what is no address."""
    try:
        known = str(ip_address(address)) if address else None
    except ValueError:
        raise typer.BadParameter(f"{address!r} is not an IP address", param_hint="--from") from None
    return Confirmer(account=account or getpass.getuser(), address=known, now_s=_now_s())


def _check_code(config: Config, text: str, typed: str, who: Confirmer) -> None:
    """Only the code on its label may transfer a stamped unit; a wrong one costs a try, as for `device approve`."""

    def look(transaction: Transaction) -> Unit | Missed:
        device = find_one(transaction, config, text)
        unit = transaction.units.by_thumbprint(device.unit) if device.unit else None
        if unit is None:
            raise CommandFailed(f"{device.label} is no stamped unit, so it has no setup code: --no-setup-code")
        return approval.may_try(transaction, who, counter=approval.setup_counter(unit)) or unit

    found = database.read(config, look)
    if isinstance(found, Missed):
        raise CommandFailed(found.reason)
    unit, counter = found, approval.setup_counter(found)
    # Milliseconds, so outside of the transaction; whoever has no tries left by then learns nothing of it.
    right = setup_code.matches(typed, model=unit.model, serial=unit.serial, setup_hash=unit.setup_hash)

    def judge(transaction: Transaction) -> Missed | None:
        missed = approval.may_try(transaction, who, counter=counter)
        if missed is not None or right:
            return missed
        reason = f"the setup code is not the one on the label of {unit.serial}; nothing was changed"
        return approval.wrong_code(transaction, who, reason, counter=counter)

    missed = database.write(config, judge)
    if missed is not None:
        raise CommandFailed(missed.reason)


def _read_code() -> str:
    if sys.stdin.isatty():
        return str(typer.prompt("Setup code", hide_input=True))
    return sys.stdin.readline().strip()


def _end(config: Config, text: str, why: Retired, *, by: str = "") -> Done:
    def work(transaction: Transaction) -> Done:
        device = find_one(transaction, config, text)
        revoke = _revokes(config, device)
        return lifecycle.end(transaction, device, why, revoke=revoke, now_s=_now_s(), by=by)

    return _act(config, work)


def _act(config: Config, work: Callable[[Transaction], Done]) -> Done:
    try:
        return database.write(config, work)
    except NotPossible as error:
        raise CommandFailed(str(error)) from error


def _started_over(config: Config, done: Done, verb: str) -> Said:
    device = _device(done)
    return Said(
        done=f"{device.label} is {verb}; the name is nobody's for ever."
        if done.changed
        else f"{device.label} was reset or transferred already.",
        next=f"{_DNS} At its next call, within {show.span(config.checkin_s)} while it is switched on, the box"
        " starts over: it makes new keys, is admitted by its model's policies and gets another name.",
        works=_certificates(config, device),
    )


def _certificates(config: Config, device: Device) -> str:
    if _revokes(config, device):
        return "Until then it is reached by its IP address; HQ asks the CA to revoke its certificates."
    return "Until then it is reached by its IP address; its certificates are left to end by themselves."


def _revokes(config: Config, device: Device) -> bool:
    model = config.models.get(device.model)
    return model is None or model.revoke_replaced


def _rearmed(seen: Device | None, done: Done) -> Said:
    device, unit = done.device, done.unit
    live = device is not None and device.state is not DeviceState.RETIRED
    label = device.label if live and device is not None else unit.serial if unit is not None else ""
    if not done.changed:
        standing = may_order(seen).reason if seen is not None and live else "in good standing"
        return Said(done=f"{label} was {standing} already.", next="")
    if not live:
        more = f" {device.label} stays gone: otscert device reset lets its box start over by itself." if device else ""
        return Said(done=f"Unit {label} may enrol again.", next=f"It does when it says hello the next time.{more}")
    board = (
        "" if unit is None or unit.fingerprint is not None else " The next board with its factory key is taken as it."
    )
    return Said(done=f"{label} may order again.", next=f"It is told at its next check-in when it has to renew.{board}")


def _device(done: Done) -> Device:
    if done.device is None:
        raise CommandFailed("the box is gone")
    return done.device


def _say(config: Config, done: Done, said: Said, *, as_json: bool) -> None:
    document: dict[str, Any] = {
        "changed": done.changed,
        "device": device_view(done.device, config) if done.device else None,
        "unit": unit_view(done.unit) if done.unit else None,
    }
    _print(document, said, as_json=as_json)


def _print(document: dict[str, Any], said: Said, *, as_json: bool) -> None:
    if as_json:
        show.print_json({**document, "done": said.done, "next": said.next, "works": said.works})
        return
    for sentence in (said.done, said.next, said.works):
        if sentence:
            typer.echo(show.printable(sentence))


def _now_s() -> int:
    return int(time.time())
