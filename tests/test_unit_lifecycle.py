"""Stamped units through their life: real agents with a factory secret, a real HQ, a CA that issues."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from agent.tests.harness.box import HeldTime, TestBox, make_box

from otscert.domain.assurance import Contribution
from otscert.domain.device import Device, Retired
from otscert.domain.unit import Unit
from otscert.service import housekeeping, lifecycle
from otscert.store.transaction import Transaction
from otscert_agent.forget import forget
from otscert_agent.steps import Step
from tests.harness.hq import LOOPBACK, HqOptions, RunningHq, default_models, run_hq
from tests.harness.ports import free_port
from tests.harness.unit import MODEL, import_units, stamp, stamped_model
from tests.scripted_ca import start_scripted_ca


class Line:
    """An HQ with one imported unit, and boards that have its secret; `serial` stands for the hardware."""

    def __init__(self, hq: RunningHq, folder: Path) -> None:
        self.hq, self.folder = hq, folder
        self.factory, self.unit = stamp("SN-1")
        self.boxes: list[TestBox] = []

    def box(self, name: str, *, serial: str = "SN-1") -> TestBox:
        hq: Any = self.hq
        made = make_box(
            hq,
            self.folder / name,
            model=MODEL,
            serial=serial,
            addresses=["192.168.7.20"],
            factory=self.factory,
            time=HeldTime(60),
        )
        self.boxes.append(made)
        return made

    async def act(self, work: Callable[[Transaction, Device, Unit, int], object]) -> None:
        """What an operator does to the device that the unit is now."""

        def write(transaction: Transaction) -> None:
            unit = transaction.units.by_thumbprint(self.unit.thumbprint)
            assert unit is not None
            device = transaction.devices.get(unit.device_id or "")
            assert device is not None
            work(transaction, device, unit, self.hq.hq.now_s())

        await self.hq.store.write(write)

    async def devices(self) -> list[tuple[Any, ...]]:
        return await self.hq.rows("SELECT state, retired, contribution FROM device ORDER BY admitted_at_s, rowid")


@pytest.fixture
async def line(tmp_path: Path) -> AsyncIterator[Line]:
    async with AsyncExitStack() as stack:
        dns_port = free_port()
        ca = await stack.enter_async_context(start_scripted_ca(dns_server=(LOOPBACK, dns_port)))
        (tmp_path / "hq").mkdir()
        (tmp_path / "boxes").mkdir()
        models = default_models() | {MODEL: stamped_model(min_contribution=Contribution.SEALED)}
        options = HqOptions(folder=tmp_path / "hq", ca=ca, dns_port=dns_port, models=models)
        made = Line(await stack.enter_async_context(run_hq(options)), tmp_path / "boxes")
        await import_units(made.hq, made.unit)
        yield made
        for box in made.boxes:
            box.close()


async def boot(box: TestBox) -> str:
    """Run until the box serves; returns its name."""
    await asyncio.to_thread(box.agent.run, until=Step.STEADY)
    assert box.disk.current_pair() is not None
    return box.store.state.names[0]


async def check_in(box: TestBox) -> None:
    assert box.agent.step is Step.STEADY
    await asyncio.to_thread(box.agent.advance)


async def test_a_unit_that_is_reset_by_its_owner_goes_on_and_keeps_its_second_name(line: Line) -> None:
    names = []
    box = line.box("first")
    for _ in range(3):
        names.append(await boot(box))
        await check_in(box)
        forget(box.disk, box.store)
        box.close()
        box = line.box("first")
    assert names[0] != names[1] == names[2]
    assert await line.devices() == [("retired", "replaced", "sealed"), ("active", None, "sealed")]
    keys = await line.hq.rows("SELECT DISTINCT spki_sha256 FROM certificate")
    assert len(keys) == 3


@pytest.mark.parametrize("why", [Retired.RESET, Retired.TRANSFER])
async def test_a_unit_that_hq_resets_starts_over_at_its_next_call(line: Line, why: Retired) -> None:
    box = line.box("first")
    old = await boot(box)
    await line.act(lambda t, device, _, now_s: lifecycle.end(t, device, why, revoke=True, now_s=now_s))
    assert await housekeeping.follow(line.hq.hq, line.hq.store, line.hq.zone) == 1
    await check_in(box)
    assert box.agent.step is Step.HOLD
    assert box.disk.current_pair() is None
    assert await boot(box) != old
    await check_in(box)
    assert await line.devices() == [("retired", why, "sealed"), ("active", None, "sealed")]
    assert await line.hq.rows("SELECT model FROM model_mark") == []  # the same start, the same canary: no sign


async def test_a_retired_unit_is_told_to_stop_and_comes_back_when_it_is_reset(line: Line) -> None:
    box = line.box("first")
    old = await boot(box)
    await line.act(lambda t, device, _, now_s: lifecycle.end(t, device, Retired.REMOVED, revoke=True, now_s=now_s))
    await check_in(box)
    said = [entry["why"] for kind in ("waiting", "problem") for entry in box.lines(kind)]
    assert any("out of service" in why for why in said)
    assert box.time.waits[-1] >= 3600  # it does not ask all the time
    await line.act(lambda t, device, _, now_s: lifecycle.end(t, device, Retired.RESET, revoke=True, now_s=now_s))
    await check_in(box)
    assert await boot(box) != old


async def test_a_secret_on_a_second_board_holds_both_until_a_person_decides(line: Line) -> None:
    first = line.box("first")
    name = await boot(first)
    second = line.box("second", serial="SN-2")
    for _ in range(12):  # the second board says hello, is refused, and waits
        await asyncio.to_thread(second.agent.advance)
        if "unit.cloned" in await line.hq.event_kinds():
            break
    assert (await line.hq.event_kinds()).count("unit.cloned") == 1
    assert await line.devices() == [("quarantined", None, "sealed")]
    await asyncio.to_thread(second.agent.advance)
    assert any("another board than before" in entry["why"] for entry in second.lines("problem"))
    # The first one goes on serving and calling; it is the one that a person lets order again.
    await check_in(first)
    assert first.store.state.names[0] == name
    await line.act(lambda t, device, unit, now_s: lifecycle.rearm(t, device, unit, same_board=True, now_s=now_s))
    await asyncio.to_thread(second.agent.advance)  # the copy asks again, and is refused without holding anybody
    await check_in(first)
    assert await line.devices() == [("active", None, "sealed")]
    assert (await line.hq.event_kinds()).count("unit.cloned") == 2
