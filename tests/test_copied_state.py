"""A box's state folder is copied to a second box: real agents, a real HQ, a CA that issues.

Whichever of the two calls first, the fork is seen in the first round of check-ins; and a box alone, half of whose
messages and answers are lost, is never taken for two.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import random
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from agent.tests.harness.box import HeldTime, TestBox, make_box

from otscert.domain.device import Retired
from otscert.service import lifecycle
from otscert.store.transaction import Transaction
from otscert_agent import app
from otscert_agent.entropy import LinuxKernel
from otscert_agent.errors import UnreachableError
from otscert_agent.factory_secret import FactorySecret
from otscert_agent.loop import Agent
from otscert_agent.state import FILE
from otscert_agent.steps import Step
from otscert_agent.transport import HttpsTransport, Reply, client_context
from tests.harness.hq import LOOPBACK, HqOptions, RunningHq, run_hq
from tests.harness.ports import free_port
from tests.scripted_ca import start_scripted_ca

FORK = {"device.resync", "clone.seen", "clone.frozen"}
SEQ = "seq"
MOST_CALLS = 2


class Street:
    """An HQ and the boxes that call it; agents block, so each of their steps runs in a thread."""

    def __init__(self, hq: RunningHq, folder: Path) -> None:
        self.hq, self.folder = hq, folder
        self.boxes: list[TestBox] = []

    def box(self, name: str, *, serial: str = "SN-1", lossy: random.Random | None = None) -> TestBox:
        """The agent on the state folder `name`; the serial number stands for the hardware."""
        hq: Any = self.hq
        made = make_box(
            hq, self.folder / name, model="box", serial=serial, addresses=["192.168.7.20"], time=HeldTime(10**6)
        )
        if lossy is not None:
            carrier = Lossy(self.hq, lossy)
            converse = app.converse_with(
                made.settings, made.disk, made.store, LinuxKernel(), carrier, secret=FactorySecret(made.settings)
            )
            made.agent = Agent(dataclasses.replace(made.agent._parts, converse=converse))
        self.boxes.append(made)
        return made

    def copy(self, name: str, *, board_unknown: bool = False) -> None:
        """Copy the first box's folder; `board_unknown`: the copy's agent cannot tell that the board is another one."""
        copied = shutil.copytree(self.folder / "first", self.folder / name, symlinks=True)
        if board_unknown:
            state = json.loads((copied / FILE).read_text())
            assert state.pop("bound") is not None
            (copied / FILE).write_text(json.dumps(state))

    async def run(self, box: TestBox, *, until: Step = Step.STEADY) -> None:
        await asyncio.to_thread(box.agent.run, until=until)

    async def check_in(self, box: TestBox) -> None:
        """One round: the agent waits (without waiting), calls, and does what it is told.

        Two branches of one identity count their messages alike, so HQ may first tell the second one how far it is.
        """
        assert box.agent.step is Step.STEADY
        for _ in range(MOST_CALLS):
            heard = len(box.lines("waiting"))
            await asyncio.to_thread(box.agent.advance)
            said = [line["why"] for line in box.lines("waiting")[heard:]]
            if not any(SEQ in why for why in said):
                return
        raise AssertionError(said)

    async def kinds(self) -> list[str]:
        return [kind for kind in await self.hq.event_kinds() if kind in FORK]

    async def devices(self) -> list[tuple[Any, ...]]:
        return await self.hq.rows("SELECT state, label FROM device ORDER BY admitted_at_s, rowid")


class Lossy:
    """A way to HQ on which a third of the messages is lost, and a third of the answers."""

    def __init__(self, hq: RunningHq, dice: random.Random) -> None:
        self._inner = HttpsTransport(
            hq.url, client_context(hq.roots_pem.decode(), clock_trusted=False), lambda _der: None
        )
        self._dice = dice
        self.lost = 0

    def post(self, url: str, body: bytes) -> Reply:
        self._maybe_lose()
        reply = self._inner.post(url, body)
        self._maybe_lose()
        return reply

    def connect(self) -> None:
        self._inner.connect()

    def close(self) -> None:
        self._inner.close()

    def _maybe_lose(self) -> None:
        if self._dice.random() < 1 / 3:
            self.lost += 1
            raise UnreachableError("lost on the way")


@pytest.fixture
async def street(tmp_path: Path) -> AsyncIterator[Street]:
    async with AsyncExitStack() as stack:
        dns_port = free_port()
        ca = await stack.enter_async_context(start_scripted_ca(dns_server=(LOOPBACK, dns_port)))
        (tmp_path / "hq").mkdir()
        (tmp_path / "boxes").mkdir()
        options = HqOptions(folder=tmp_path / "hq", ca=ca, dns_port=dns_port)
        made = Street(await stack.enter_async_context(run_hq(options)), tmp_path / "boxes")
        yield made
        for box in made.boxes:
            box.close()


async def two_boxes(street: Street, *, serial: str, board_unknown: bool = False) -> tuple[TestBox, TestBox]:
    """A box in service, and a second one that starts on a copy of its folder."""
    first = street.box("first")
    await street.run(first)
    await street.check_in(first)
    first.close()
    street.copy("second", board_unknown=board_unknown)
    first, second = street.box("first"), street.box("second", serial=serial)
    for box in (first, second):
        await street.run(box)
    return first, second


@pytest.mark.parametrize("copy_first", [False, True])
async def test_on_equal_hardware_both_are_seen_in_the_first_round_and_frozen_in_the_second(
    street: Street, *, copy_first: bool
) -> None:
    first, second = await two_boxes(street, serial="SN-1")
    order = [second, first] if copy_first else [first, second]
    for box in order:
        await street.check_in(box)
    assert await street.kinds() == ["device.resync"]
    for box in order:
        await street.check_in(box)
    assert await street.kinds() == ["device.resync", "clone.frozen"]
    ((state, label),) = await street.devices()
    assert state == "frozen"
    said = [line["why"] for box in order for kind in ("waiting", "problem") for line in box.lines(kind)]
    assert any("two boxes share this identity" in why for why in said)
    # Both go on serving what they have; HQ gives neither of them another certificate.
    assert all(box.disk.current_pair() is not None for box in order)
    assert {box.store.state.names[0].split(".")[0] for box in order} == {label}


@pytest.mark.parametrize("copy_first", [False, True])
async def test_on_other_hardware_the_copy_is_told_to_start_over_and_becomes_a_new_box(
    street: Street, *, copy_first: bool
) -> None:
    first, second = await two_boxes(street, serial="SN-2", board_unknown=True)
    for box in [second, first] if copy_first else [first, second]:
        await street.check_in(box)
    assert await street.kinds() == ["clone.seen"]
    assert first.agent.step is Step.STEADY
    assert second.agent.step is Step.HOLD  # it has forgotten what was not its own
    assert second.disk.current_pair() is None
    await street.run(second)
    await street.check_in(second)
    await street.check_in(first)
    devices = await street.devices()
    assert [state for state, _ in devices] == ["active", "active"]
    assert len({label for _, label in devices}) == 2
    keys = await street.hq.rows("SELECT DISTINCT spki_sha256 FROM certificate")
    assert len(keys) == 2
    assert await street.kinds() == ["clone.seen"]


async def test_an_agent_that_knows_its_board_starts_over_by_itself(street: Street) -> None:
    first, second = await two_boxes(street, serial="SN-2")
    assert first.store.state.device_id != second.store.state.device_id
    for box in (first, second):
        await street.check_in(box)
    assert [state for state, _ in await street.devices()] == ["active", "active"]
    assert await street.kinds() == []


async def test_the_one_that_is_left_comes_back_when_it_is_rearmed(street: Street) -> None:
    first, second = await two_boxes(street, serial="SN-1")
    for box in (first, second) * 2:
        await street.check_in(box)
    assert "clone.frozen" in await street.kinds()

    def rearm(transaction: Transaction) -> None:
        (device,) = transaction.devices.page(after_id="", limit=2)
        lifecycle.rearm(transaction, device, None, same_board=False, now_s=street.hq.hq.now_s())

    await street.hq.store.write(rearm)
    for _ in range(4):
        await street.check_in(first)  # the copy was taken away
    assert [state for state, _ in await street.devices()] == ["active"]
    assert (await street.kinds()).count("clone.frozen") == 1


@pytest.mark.parametrize("name", ["reset", "removed"])
async def test_a_box_whose_name_was_taken_back_starts_over_or_stops(street: Street, name: str) -> None:
    box = street.box("first")
    await street.run(box)
    old = box.store.state.names

    def end(transaction: Transaction) -> None:
        (device,) = transaction.devices.page(after_id="", limit=2)
        why = Retired(name)
        lifecycle.end(transaction, device, why, revoke=False, now_s=street.hq.hq.now_s())

    await street.hq.store.write(end)
    await street.check_in(box)
    if name == "removed":
        assert any("out of service" in line["why"] for line in [*box.lines("waiting"), *box.lines("problem")])
        assert len(await street.devices()) == 1
        return
    await street.run(box)
    await street.check_in(box)
    assert box.store.state.names != old
    assert [state for state, _ in await street.devices()] == ["retired", "active"]
    assert await street.kinds() == []


async def test_an_honest_box_on_a_bad_line_is_never_taken_for_two(street: Street) -> None:
    dice = random.Random(7)
    box = street.box("first", lossy=dice)
    await street.run(box)
    sent = await calls_until(street, box, 60)
    assert sent > 100  # most of them were lost at least once
    assert await street.kinds() == []
    # Restarts in between lose nothing either: what was sent is on the box's disk.
    box.close()
    again = street.box("first", lossy=dice)
    await street.run(again)
    await calls_until(street, again, 20)
    assert await street.kinds() == []


async def test_a_copy_made_on_a_bad_line_is_seen_all_the_same(street: Street) -> None:
    dice = random.Random(11)
    first = street.box("first", lossy=dice)
    await street.run(first)
    await calls_until(street, first, 5)
    first.close()
    street.copy("second")
    boxes = [street.box(name, lossy=dice) for name in ("first", "second")]
    for box in boxes:
        await street.run(box)
        await calls_until(street, box, 1)
    for box in boxes * 3:
        if "clone.frozen" not in await street.kinds():
            await asyncio.to_thread(box.agent.advance)
    kinds = await street.kinds()
    assert "device.resync" in kinds


async def calls_until(street: Street, box: TestBox, answered: int) -> int:
    """Let the box call until so many check-ins were answered; returns how many tries that took."""
    token, tries = box.store.state.epoch_token, 0
    while answered:
        await street.check_in(box)
        tries += 1
        if box.store.state.epoch_token != token:
            token, answered = box.store.state.epoch_token, answered - 1
        assert tries < 2000
    return tries
