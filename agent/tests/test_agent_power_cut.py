"""A power cut after any operation of `disk`: always one name, one valid pair, no rule of the protocol broken."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from agent.tests.harness.box import TestBox
from agent.tests.harness.hq import Book, FakeHq
from agent.tests.harness.power import Folder, RecordingOps, cuts, read, rebuild

from otscert_agent.errors import AgentError
from otscert_agent.facts import installed_facts
from otscert_agent.serve import load_pair
from otscert_agent.steps import Step

MakeBox = Callable[..., TestBox]


class Worlds:
    """HQ's memory at each moment; the same object while nothing has changed."""

    def __init__(self, hq: FakeHq) -> None:
        self._hq = hq
        self._calls = -1
        self._last: Book | None = None

    def __call__(self) -> Any:
        if len(self._hq.book.calls) != self._calls:
            self._calls = len(self._hq.book.calls)
            self._last = copy.deepcopy(self._hq.book)
        return self._last


def boot_from_each_cut(hq: FakeHq, box: MakeBox, tmp_path: Path, begin: Folder, ops: RecordingOps) -> int:
    found = cuts(begin, ops.operations)
    for number, (_, _, left, world) in enumerate(found):
        hq.book = copy.deepcopy(world)
        rebuild(tmp_path / f"cut{number}", left)
        again = box(f"cut{number}")
        again.agent.run(until=Step.STEADY)
        again.agent.advance()  # the first check-in: HQ and box agree about token and seq
        again.agent.run(until=Step.STEADY)
        check_one_name_one_pair(hq, again)
        again.close()
        shutil.rmtree(tmp_path / f"cut{number}")
    return len(found)


def check_one_name_one_pair(hq: FakeHq, box: TestBox) -> None:
    assert hq.book.violations == []
    assert len({device.name for device in hq.book.devices.values()}) == 1
    assert box.store.state.pending is None
    folder = box.disk.current_pair()
    assert folder is not None
    load_pair(folder)
    facts = installed_facts(box.disk)
    assert facts.names == box.store.state.names
    assert facts.names[0] == next(iter(hq.book.devices.values())).name
    assert (folder / "chain.pem").read_text() in hq.book.chains.values()


def test_a_power_cut_during_the_first_boot_costs_nothing(hq: FakeHq, box: MakeBox, tmp_path: Path) -> None:
    ops = RecordingOps(tmp_path / "box", Worlds(hq))
    first = box(ops=ops)
    first.agent.run(until=Step.STEADY)
    first.close()
    ops.fsync(tmp_path / "box")  # the end of the recording: everything before it is a prefix
    assert boot_from_each_cut(hq, box, tmp_path, Folder(), ops) > 20


def test_a_power_cut_during_a_renewal_costs_nothing(hq: FakeHq, box: MakeBox, tmp_path: Path) -> None:
    first = box()
    first.agent.run(until=Step.STEADY)
    first.close()
    begin = read(tmp_path / "box")
    before = first.disk.current_pair()
    hq.book.commands = ["renew"]
    ops = RecordingOps(tmp_path / "box", Worlds(hq))
    again = box(ops=ops)
    again.agent.run(until=Step.STEADY)
    again.agent.advance()
    again.agent.run(until=Step.STEADY)
    assert again.disk.current_pair() != before
    again.close()
    ops.fsync(tmp_path / "box")
    assert boot_from_each_cut(hq, box, tmp_path, begin, ops) > 20


@pytest.mark.parametrize("victim", ["state.json.tmp", "current.tmp", "key.pem"])
def test_the_model_of_the_folder_notices_a_missing_fsync(hq: FakeHq, box: MakeBox, tmp_path: Path, victim: str) -> None:
    """The judge is judged: without one kind of fsync the same check must fail."""

    class Forgetful(RecordingOps):
        def fsync(self, path: Path) -> None:
            if not (path.name == victim or (victim == "current.tmp" and path == tmp_path / "box")):
                super().fsync(path)

    ops = Forgetful(tmp_path / "box", Worlds(hq))
    first = box(ops=ops)
    first.agent.run(until=Step.STEADY)
    first.close()
    RecordingOps.fsync(ops, tmp_path / "box" / "pairs")
    with pytest.raises((AssertionError, AgentError)):
        boot_from_each_cut(hq, box, tmp_path, Folder(), ops)
