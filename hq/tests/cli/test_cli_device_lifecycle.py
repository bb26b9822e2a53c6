"""`otscert device reset|transfer|retire|quarantine|rearm|block-serial`: what they do, say, and refuse."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

import dns.message
import dns.query
import dns.rcode
import pytest

from otscert.domain.device import Device, DeviceState, Retired
from otscert.domain.ratchet import Ratchet
from otscert.domain.unit import Unit, UnitState
from otscert.store.sqlite import SqliteStore
from otscert.store.transaction import Transaction
from tests.harness.unit import CODE, stamp

Installation = Any  # the class lives in conftest.py, which cannot be imported
T = TypeVar("T")
NOW_S = int(time.time())
SHOWN = f"{CODE[:4]}-{CODE[4:8]}-{CODE[8:]}"
WRONG = "ZZZZ-ZZZZ-ZZZZ"


def device(number: int = 1, **changes: Any) -> Device:
    made = Device(
        id=f"id-{number}",
        thumbprint=f"thumbprint-{number}",
        model="box",
        serial=f"SN-{number}",
        firmware="1.2",
        label=f"label-{number}",
        state=DeviceState.ACTIVE,
        policy="token",
        contribution="open",
        source="hwrng",
        admitted_at_s=NOW_S - 1000 + number,
        last_seen_s=NOW_S - 600,
        addresses=("127.0.0.7",),
        served_sha256=None,
        unserved=0,
        cmd_seq=0,
        ratchet=Ratchet(
            token_hash=bytes([number]) * 32, previous_hash=b"", last_txid="", fingerprint="board", last_resync_s=None
        ),
    )
    return replace(made, **changes)


def stamped(serial: str = "SN-1", **changes: Any) -> Unit:
    return replace(stamp(serial, model="box")[1], **changes)


def on_store(installed: Installation, work: Callable[[Transaction], T]) -> T:
    async def write() -> T:
        store = SqliteStore.open(installed.database)
        try:
            return await store.write(work)
        finally:
            await store.close()

    return asyncio.run(write())


def fill(installed: Installation, *rows: Device | Unit) -> None:
    def add(transaction: Transaction) -> None:
        for row in rows:
            if isinstance(row, Device):
                transaction.devices.add(row)
            else:
                transaction.units.add_many([row], now_s=NOW_S)

    on_store(installed, add)


def of_one_unit(installed: Installation, held: UnitState = UnitState.STAMPED, **changes: Any) -> None:
    """A box in service that is a stamped unit."""
    unit = stamped(device_id="id-1", fingerprint="board", state=held)
    fill(installed, device(unit=unit.thumbprint, **changes), unit)


def device_row(installed: Installation, device_id: str = "id-1") -> Device:
    found = on_store(installed, lambda transaction: transaction.devices.get(device_id))
    assert found is not None
    return found


def unit_row(installed: Installation, serial: str = "SN-1") -> Unit:
    found = on_store(installed, lambda transaction: transaction.units.by_serial("box", serial))
    assert found is not None
    return found


def kinds(installed: Installation) -> list[str]:
    return on_store(
        installed,
        lambda transaction: [event.kind for event in transaction.events.of_device("id-1", limit=20)][::-1],
    )


def call(installed: Installation, *arguments: str) -> dict[str, Any]:
    done = installed.call("device", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


@pytest.mark.parametrize(
    ("command", "retired", "unit_state"),
    [
        (["reset"], Retired.RESET, UnitState.STAMPED),
        (["transfer", "--no-setup-code"], Retired.TRANSFER, UnitState.STAMPED),
        (["retire"], Retired.REMOVED, UnitState.BLOCKED),
    ],
)
def test_a_name_is_taken_back_once_and_the_second_time_changes_nothing(
    installed: Installation, command: list[str], retired: Retired, unit_state: UnitState
) -> None:
    of_one_unit(installed)
    said = call(installed, command[0], "label-1", *command[1:])
    assert (said["changed"], said["device"]["retired"], said["device"]["in_dns"]) == (True, retired, False)
    assert said["unit"]["state"] == unit_state
    assert {"next", "works"} <= said.keys()
    assert device_row(installed).state is DeviceState.RETIRED
    assert unit_row(installed).state is unit_state
    again = installed.call("device", command[0], "id-1", *command[1:])
    assert again.returncode == 0
    assert "already" in again.stdout
    assert kinds(installed) == ["device.retired"]


def test_what_is_said_tells_what_happens_next_and_what_works(installed: Installation) -> None:
    fill(installed, device())
    done = installed.call("device", "reset", "label-1.boxes.example.com")
    lines = done.stdout.splitlines()
    assert lines[0] == "label-1 is reset; the name is nobody's for ever."
    assert "out of DNS within seconds" in lines[1]
    assert "At its next call, within 6 hours while it is switched on" in lines[1]
    assert "revoke" in lines[2]
    installed.edit("policies = ", "revoke_replaced = false\npolicies = ")
    fill(installed, device(2))
    assert "left to end by themselves" in installed.call("device", "reset", "id-2").stdout


def test_a_retired_box_can_be_let_start_over_and_back(installed: Installation) -> None:
    of_one_unit(installed)
    call(installed, "retire", "id-1")
    assert call(installed, "reset", "id-1")["changed"]
    assert (device_row(installed).retired, unit_row(installed).state) == (Retired.RESET, UnitState.STAMPED)
    assert call(installed, "retire", "id-1")["changed"]
    assert (device_row(installed).retired, unit_row(installed).state) == (Retired.REMOVED, UnitState.BLOCKED)


@pytest.mark.parametrize("command", ["reset", "retire", "quarantine"])
def test_a_unit_that_has_enrolled_again_is_another_box_of_the_list(installed: Installation, command: str) -> None:
    unit = stamped(device_id="id-2", fingerprint="board")
    old = device(1, state=DeviceState.RETIRED, retired=Retired.REPLACED, unit=unit.thumbprint)
    fill(installed, old, device(2, serial="SN-1", unit=unit.thumbprint), unit)
    refused = installed.call("device", command, "label-1")
    assert refused.returncode == 1
    assert refused.stderr.startswith("otscert: ")
    # By serial number it is the one in service that is meant.
    assert call(installed, command, "SN-1")["device"]["id"] == "id-2"


def test_a_serial_number_of_two_boxes_names_neither(installed: Installation) -> None:
    fill(installed, device(1), device(2, serial="SN-1"))
    for command in (["reset"], ["retire"], ["quarantine"], ["transfer", "--no-setup-code"], ["rearm"]):
        refused = installed.call("device", command[0], "SN-1", *command[1:])
        assert refused.returncode == 1
        assert "several boxes" in refused.stderr
        assert "id-1 (label-1)" in refused.stderr
    assert device_row(installed).state is DeviceState.ACTIVE


def test_a_transfer_takes_the_code_on_the_label(installed: Installation) -> None:
    of_one_unit(installed)
    refused = installed.call("device", "transfer", "SN-1", "--setup-code", WRONG)
    assert refused.returncode == 1
    assert "not the one on the label of SN-1; nothing was changed" in refused.stderr
    assert device_row(installed).state is DeviceState.ACTIVE
    assert call(installed, "transfer", "SN-1", "--setup-code", SHOWN.lower())["device"]["retired"] == "transfer"


def test_the_code_can_be_read_instead_of_standing_among_the_processes(installed: Installation) -> None:
    of_one_unit(installed)
    done = installed.run("device", "transfer", "SN-1", "--setup-code", "-")
    assert done.returncode == 1  # an empty line is no code
    assert "not the one on the label" in done.stderr


def test_five_wrong_codes_end_the_tries_of_an_account_also_for_the_right_one(installed: Installation) -> None:
    of_one_unit(installed)
    for _ in range(5):
        assert installed.call("device", "transfer", "SN-1", "--setup-code", WRONG, "--account", "eve").returncode == 1
    refused = installed.call("device", "transfer", "SN-1", "--setup-code", SHOWN, "--account", "eve")
    assert refused.returncode == 1
    assert "too many wrong codes" in refused.stderr
    assert device_row(installed).state is DeviceState.ACTIVE
    assert call(installed, "transfer", "SN-1", "--setup-code", SHOWN, "--account", "adam")["changed"]
    (event,) = on_store(installed, lambda transaction: transaction.events.of_device("id-1", limit=9))
    assert event.data["by"] == "adam"


def test_a_transfer_without_the_code_warns(installed: Installation) -> None:
    of_one_unit(installed)
    done = installed.call("device", "transfer", "SN-1", "--no-setup-code")
    assert done.returncode == 0
    assert "WARNING" in done.stderr
    assert "takes the name away from whoever does" in done.stderr


@pytest.mark.parametrize("options", [[], ["--setup-code", SHOWN, "--no-setup-code"]])
def test_a_transfer_says_how_it_was_shown(installed: Installation, options: list[str]) -> None:
    of_one_unit(installed)
    refused = installed.call("device", "transfer", "SN-1", *options)
    assert refused.returncode == 2
    assert device_row(installed).state is DeviceState.ACTIVE


def test_a_box_without_factory_secret_has_no_setup_code(installed: Installation) -> None:
    fill(installed, device())
    refused = installed.call("device", "transfer", "SN-1", "--setup-code", SHOWN)
    assert refused.returncode == 1
    assert "--no-setup-code" in refused.stderr


def test_quarantine_holds_the_box_and_its_unit_until_rearmed(installed: Installation) -> None:
    of_one_unit(installed)
    said = call(installed, "quarantine", "SN-1", "--reason", "reported stolen")
    assert (said["device"]["state"], said["unit"]["state"]) == ("quarantined", "quarantined")
    assert said["device"]["may_order"] is False
    assert "stays in DNS" in said["works"]
    assert call(installed, "quarantine", "SN-1")["changed"] is False
    said = call(installed, "rearm", "SN-1", "--same-board")
    assert (said["device"]["state"], said["unit"]["state"], said["unit"]["board_known"]) == (
        "active",
        "confirmed",
        True,
    )
    assert kinds(installed) == ["device.quarantined", "device.rearmed"]
    assert "already" in installed.call("device", "rearm", "SN-1", "--same-board").stdout


def test_a_box_that_is_quarantined_does_not_start_over_around_it(installed: Installation) -> None:
    of_one_unit(installed)
    call(installed, "quarantine", "SN-1")
    for command in (["reset"], ["transfer", "--setup-code", SHOWN]):
        refused = installed.call("device", command[0], "SN-1", *command[1:])
        assert refused.returncode == 1
        assert "is quarantined: otscert device rearm first" in refused.stderr
    assert call(installed, "retire", "SN-1")["unit"]["state"] == "blocked"


def test_a_confirmed_board_is_asked_about_only_when_the_box_needs_nothing_else(installed: Installation) -> None:
    of_one_unit(installed, UnitState.CONFIRMED, unserved=2)
    assert call(installed, "rearm", "SN-1")["unit"]["state"] == "confirmed"
    said = call(installed, "rearm", "SN-1")
    assert (said["changed"], said["unit"]["state"], said["unit"]["board_known"]) == (True, "stamped", False)


def test_a_rearmed_unit_may_come_on_another_board(installed: Installation) -> None:
    of_one_unit(installed, UnitState.QUARANTINED, state=DeviceState.QUARANTINED)
    said = call(installed, "rearm", "short-SN-1")
    assert (said["unit"]["board_known"], said["device"]["state"]) == (False, "active")
    assert "The next board with its factory key is taken as it" in said["next"]


@pytest.mark.parametrize("text", ["SN-1", "short-SN-1"])
def test_a_unit_that_never_enrolled_can_be_rearmed(installed: Installation, text: str) -> None:
    fill(installed, stamped(state=UnitState.QUARANTINED, fingerprint="board"))
    said = call(installed, "rearm", text)
    assert (said["changed"], said["device"], said["unit"]["state"]) == (True, None, "stamped")
    assert unit_row(installed).fingerprint is None
    assert call(installed, "rearm", text)["changed"] is False


def test_units_of_two_models_with_one_serial_number_are_told_apart_by_short_id(installed: Installation) -> None:
    fill(installed, stamped(), replace(stamp("SN-1", model="camera")[1], short_id="cam"))
    refused = installed.call("device", "rearm", "SN-1")
    assert refused.returncode == 1
    assert "box and camera" in refused.stderr
    assert installed.call("device", "rearm", "cam").returncode == 0


@pytest.mark.parametrize("words", ["SN-42", "short-SN-42"])
def test_a_box_that_claims_a_units_words_is_not_taken_for_it(installed: Installation, words: str) -> None:
    fill(installed, stamped("SN-42", state=UnitState.QUARANTINED), device(serial=words, model="camera"))
    for command in ("quarantine", "reset", "retire"):
        refused = installed.call("device", command, words)
        assert (refused.returncode, "is a stamped unit of model box" in refused.stderr) == (1, True)
    assert call(installed, "rearm", words)["unit"]["state"] == "stamped"
    assert device_row(installed).state is DeviceState.ACTIVE
    assert call(installed, "retire", "id-1")["device"]["retired"] == "removed"


def test_a_retired_unit_may_enrol_again_once_it_is_rearmed_but_its_name_is_gone(installed: Installation) -> None:
    of_one_unit(installed)
    call(installed, "retire", "SN-1")
    done = installed.call("device", "rearm", "SN-1")
    assert done.stdout.splitlines()[0] == "Unit SN-1 may enrol again."
    assert "label-1 stays gone: otscert device reset" in done.stdout
    assert unit_row(installed).state is UnitState.STAMPED
    assert device_row(installed).retired is Retired.REMOVED


def test_a_box_without_secret_whose_name_was_taken_back_cannot_be_rearmed(installed: Installation) -> None:
    fill(installed, device())
    call(installed, "retire", "id-1")
    refused = installed.call("device", "rearm", "id-1")
    assert refused.returncode == 1
    assert "taken back for ever (removed)" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_serial_numbers_are_blocked_and_unblocked(installed: Installation) -> None:
    fill(installed, device())
    said = call(installed, "block-serial", "box", "SN-1", "--reason", "stolen")
    assert said["changed"] is True
    assert [view["id"] for view in said["devices"]] == ["id-1"]
    assert "label-1 has it: its name and certificate work until the certificate ends" in said["works"]
    assert call(installed, "block-serial", "box", "SN-1", "--reason", "stolen")["changed"] is False
    assert on_store(installed, lambda transaction: transaction.units.blocked("box", "SN-1")) == "stolen"
    repeated = call(installed, "block-serial", "box", "SN-1")
    assert (repeated["changed"], repeated["done"]) == (False, "Serial number SN-1 of box was blocked already: stolen.")
    assert on_store(installed, lambda transaction: transaction.units.blocked("box", "SN-1")) == "stolen"
    other = call(installed, "block-serial", "box", "SN-1", "--reason", "lost")
    assert (other["changed"], other["done"]) == (
        True,
        "Serial number SN-1 of box was blocked already (stolen); the reason is now: lost.",
    )
    assert call(installed, "unblock-serial", "box", "SN-1")["changed"] is True
    for model, more in (("box", "."), ("bax", ": there is no model 'bax'; this HQ has box.")):
        never = call(installed, "unblock-serial", model, "SN-1")
        assert (never["changed"], never["done"]) == (False, f"Serial number SN-1 of {model} was not blocked.")
        assert never["next"] == f"Nothing was changed{more}"
    refused = installed.call("device", "block-serial", "bax", "SN-1")
    assert (refused.returncode, "no model 'bax'" in refused.stderr) == (1, True)


@pytest.mark.parametrize("command", ["reset", "retire", "quarantine", "rearm"])
def test_nobody_is_a_clear_refusal(installed: Installation, command: str) -> None:
    fill(installed, device())
    refused = installed.call("device", command, "\x1b[2Jnobody")
    assert refused.returncode == 1
    assert "otscert device list" in refused.stderr
    assert "\x1b" not in refused.stderr


def test_a_running_hq_takes_the_name_out_of_dns_within_seconds(installed: Installation) -> None:
    fill(installed, device(1), device(2))
    with installed.started("serve", "--json") as process:
        assert json.loads(process.stdout.readline())
        assert rcode(installed, "label-1") is dns.rcode.NOERROR
        assert installed.run("device", "retire", "id-1").returncode == 0
        deadline = time.monotonic() + 15
        while rcode(installed, "label-1") is dns.rcode.NOERROR:
            assert time.monotonic() < deadline, "the zone does not follow"
            time.sleep(0.05)
        assert rcode(installed, "label-1") is dns.rcode.NXDOMAIN
        assert rcode(installed, "label-2") is dns.rcode.NOERROR
    assert device_row(installed).in_dns is False


def rcode(installed: Installation, label: str) -> dns.rcode.Rcode:
    query = dns.message.make_query(f"{label}.boxes.example.com", "A")
    return dns.query.udp(query, "127.0.0.1", port=installed.dns_port, timeout=5).rcode()
