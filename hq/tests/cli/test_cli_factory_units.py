"""`otscert factory list` and `show`: what HQ has of the maker's batches."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from otscert.domain.unit import Unit, UnitState
from otscert.store.sqlite import SqliteStore
from otscert.store.transaction import Transaction
from tests.harness.unit import stamp

Installation = Any  # the class lives in conftest.py, which cannot be imported


def unit(serial: str, short_id: str, *, batch: str = "b-1", **changes: Any) -> Unit:
    made = stamp(serial, model=changes.pop("model", "box"))[1]
    values = {name: getattr(made, name) for name in Unit.__slots__}
    return Unit(**{**values, "batch": batch, "short_id": short_id, **changes})


def on_store(installed: Installation, work: Callable[[Transaction], Any]) -> None:
    async def change() -> None:
        store = SqliteStore.open(installed.database)
        try:
            await store.write(work)
        finally:
            await store.close()

    asyncio.run(change())


@pytest.fixture
def batches(installed: Installation) -> Any:
    """Two batches; one unit is blocked, one is a box, and one serial number is that of units of two models."""
    units = [
        unit("SN-1", "aaaaaaaa"),
        unit("SN-2", "bbbbbbbb", state=UnitState.BLOCKED),
        unit("SN-3", "cccccccc", device_id="gone"),
        unit("SN-1", "dddddddd", batch="b-2", model="lamp"),
        unit("SN-9", "eeeeeeee", batch="b-2"),
    ]

    def enter(transaction: Transaction) -> None:
        transaction.units.add_many(units, now_s=1)
        transaction.units.block_serial("box", "SN-9", reason="stolen", now_s=1)

    on_store(installed, enter)
    return installed


def answer(at: Installation, *words: str) -> Any:
    done = at.call("factory", *words, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_batches_are_listed_with_their_counts(batches: Installation) -> None:
    first = {
        "batch": "b-1",
        "models": ["box"],
        "units": 3,
        "enrolled": 1,
        "states": {"blocked": 1, "stamped": 2},
    }
    second = {"batch": "b-2", "models": ["box", "lamp"], "units": 2, "enrolled": 0, "states": {"stamped": 2}}
    assert answer(batches, "list") == {"batches": [first, second], "after": None}
    assert answer(batches, "list", "--limit", "1") == {"batches": [first], "after": "b-1"}
    assert answer(batches, "list", "--after", "b-1") == {"batches": [second], "after": None}
    text = batches.call("factory", "list", "--limit", "1")
    assert text.stdout.splitlines()[1].split() == ["b-1", "box", "3", "1", "1", "blocked,", "2", "stamped"]
    assert "--after b-1" in text.stderr


def test_units_of_a_batch_are_listed_by_serial_number(batches: Installation) -> None:
    first = answer(batches, "list", "--batch", "b-1", "--limit", "2")
    assert ([each["serial"] for each in first["units"]], first["after"]) == (["SN-1", "SN-2"], "bbbbbbbb")
    rest = answer(batches, "list", "--batch", "b-1", "--limit", "2", "--after", "bbbbbbbb")
    assert ([each["serial"] for each in rest["units"]], rest["after"]) == (["SN-3"], None)
    assert "SN-2    bbbbbbbb  box    blocked" in batches.call("factory", "list", "--batch", "b-1").stdout
    missing = batches.call("factory", "list", "--batch", "b-3")
    assert (missing.returncode, "no unit here is of batch 'b-3'" in missing.stderr) == (1, True)


def test_a_unit_is_shown_by_serial_number_and_by_short_id(batches: Installation) -> None:
    shown = answer(batches, "show", "SN-2")
    assert (shown["batch"], shown["state"], shown["blocked"], shown["box"]) == ("b-1", "blocked", True, None)
    assert answer(batches, "show", "bbbbbbbb") == shown
    assert not any("key" in name or "setup" in name for name in shown)
    assert answer(batches, "show", "aaaaaaaa")["blocked"] is False
    assert "yes, its serial number: stolen" in batches.call("factory", "show", "SN-9").stdout
    fresh = batches.call("factory", "show", "aaaaaaaa")
    assert "it has not enrolled yet" in fresh.stdout
    assert "model box does not have the policy factory" in fresh.stderr
    both = batches.call("factory", "show", "SN-1")
    assert (both.returncode, "models box and lamp" in both.stderr) == (1, True)
    nobody = batches.call("factory", "show", "SN-0")
    assert (nobody.returncode, "otscert factory list" in nobody.stderr) == (1, True)


def test_a_unit_that_has_not_enrolled_is_told_of_by_device_show(batches: Installation) -> None:
    done = batches.call("device", "show", "SN-2")
    assert done.returncode == 1
    assert done.stderr == (
        "otscert: 'SN-2' is a stamped unit of batch b-1, not enrolled yet: otscert factory show bbbbbbbb\n"
    )
    assert "no box has" in batches.call("device", "show", "SN-0").stderr


def test_an_hq_without_batches_says_so(installed: Installation) -> None:
    on_store(installed, lambda transaction: transaction.units.batches(after="", limit=1))
    done = installed.call("factory", "list")
    assert (done.returncode, done.stdout, "No batch yet" in done.stderr) == (0, "", True)
