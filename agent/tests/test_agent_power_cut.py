"""A power cut after any operation of `disk`: always one name, one valid pair, no rule of the protocol broken."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from agent.tests.harness.box import TestBox
from agent.tests.harness.hq import Book, FakeHq
from agent.tests.harness.power import Folder, RecordingOps, cuts, read, rebuild

from otscert_agent import sealing
from otscert_agent.entropy import LinuxKernel
from otscert_agent.errors import AgentError
from otscert_agent.facts import installed_facts
from otscert_agent.serve import load_pair
from otscert_agent.steps import Step
from otscert_agent.wire.factory import Factory

MakeBox = Callable[..., TestBox]
UNIT = Factory.from_bytes(bytes(range(32)))
EITHER = pytest.mark.parametrize("factory", [None, UNIT], ids=["unstamped", "stamped"])


@pytest.fixture
def hq(hq: FakeHq) -> FakeHq:
    hq.stamp(UNIT)
    return hq


class CreditedKernel(LinuxKernel):
    """Remembers what it was credited."""

    def __init__(self) -> None:
        self.credits: list[bytes] = []

    def credit(self, seed: bytes) -> bool:
        self.credits.append(seed)
        return True


@dataclass(frozen=True)
class World:
    """What was known outside the folder at one moment: HQ's memory, and the seeds that a kernel had been given."""

    book: Book
    credits: list[bytes]


class Worlds:
    """The world at each moment; the same object while nothing has changed."""

    def __init__(self, hq: FakeHq, kernel: CreditedKernel | None = None) -> None:
        self._hq = hq
        self._kernel = kernel or CreditedKernel()
        self._seen = (-1, -1)
        self._last: World | None = None

    def __call__(self) -> Any:
        seen = (len(self._hq.book.calls), len(self._kernel.credits))
        if seen != self._seen:
            self._seen = seen
            self._last = World(copy.deepcopy(self._hq.book), list(self._kernel.credits))
        return self._last


def boot_from_each_cut(
    hq: FakeHq,
    box: MakeBox,
    tmp_path: Path,
    begin: Folder,
    ops: RecordingOps,
    *,
    at_once: Callable[[Path], None] = lambda _folder: None,
    check: Callable[[TestBox], None] = lambda _box: None,
    **more: Any,
) -> int:
    """Look at every cut (`at_once`), switch the box on, let it come to rest, and look again (`check`)."""
    ops.fsync(ops.root)  # the end of the recording: everything before it is a prefix
    found = cuts(begin, ops.operations)
    for number, (_, _, left, world) in enumerate(found):
        hq.book = copy.deepcopy(world.book)
        rebuild(tmp_path / f"cut{number}", left)
        at_once(tmp_path / f"cut{number}")
        kernel = CreditedKernel()
        again = box(f"cut{number}", kernel=kernel, **more)
        assert again.store.damage is None
        again.agent.run(until=Step.STEADY)
        again.agent.advance()  # the first check-in: HQ and box agree about token and seq
        again.agent.run(until=Step.STEADY)
        check_one_pair(hq, again)
        assert not set(kernel.credits) & set(world.credits), "a seed was credited at two starts"
        check(again)
        again.close()
        shutil.rmtree(tmp_path / f"cut{number}")
    return len(found)


def check_one_pair(hq: FakeHq, box: TestBox) -> None:
    assert hq.book.violations == []
    assert box.store.state.pending is None
    assert not box.store.state.forgetting
    folder = box.disk.current_pair()
    assert folder is not None
    load_pair(folder)
    facts = installed_facts(box.disk)
    assert facts.names == box.store.state.names
    assert facts.names[0] in {device.name for device in hq.book.devices.values()}
    assert (folder / "chain.pem").read_text() in hq.book.chains.values()
    assert box.disk.versions() == [folder]


def one_name(hq: FakeHq) -> Callable[[TestBox], None]:
    def check(_box: TestBox) -> None:
        assert len(hq.book.devices) == 1

    return check


def names(hq: FakeHq) -> set[str]:
    return {device.name for device in hq.book.devices.values()}


@EITHER
def test_a_power_cut_during_the_first_boot_costs_nothing(
    hq: FakeHq, box: MakeBox, tmp_path: Path, factory: Factory | None
) -> None:
    kernel = CreditedKernel()
    ops = RecordingOps(tmp_path / "box", Worlds(hq, kernel))
    first = box(ops=ops, kernel=kernel, factory=factory)
    first.agent.run(until=Step.STEADY)
    first.close()
    assert len(kernel.credits) == (factory is not None)

    def check(box: TestBox) -> None:
        one_name(hq)(box)
        # The key that was certified is the one that HQ ended with; a hello that came to nothing has left none.
        assert len(hq.book.chains) == 1

    assert boot_from_each_cut(hq, box, tmp_path, Folder(), ops, check=check, factory=factory) > 20


@EITHER
def test_a_power_cut_during_a_renewal_costs_nothing(
    hq: FakeHq, box: MakeBox, tmp_path: Path, factory: Factory | None
) -> None:
    begin = enrolled(box, factory=factory)
    before = names(hq)
    hq.book.commands = ["renew"]
    ops = RecordingOps(tmp_path / "box", Worlds(hq))
    again = box(ops=ops, factory=factory)
    pair = again.disk.current_pair()
    again.agent.run(until=Step.STEADY)
    again.agent.advance()
    again.agent.run(until=Step.STEADY)
    assert again.disk.current_pair() != pair
    again.close()

    def check(_box: TestBox) -> None:
        assert names(hq) == before
        assert len(hq.book.chains) <= 2

    assert boot_from_each_cut(hq, box, tmp_path, begin, ops, check=check, factory=factory) > 20


def no_key_outlives_its_state(old_key: bytes) -> Callable[[Path], None]:
    """From the moment that the state does not know the old box any more, its TLS key is nowhere in the folder."""

    def look(folder: Path) -> None:
        state = json.loads((folder / "state.json").read_text())
        forgotten = state["device_id"] is None and not state["forgetting"]
        found = [path for path in folder.rglob("*") if path.is_file() and path.read_bytes() == old_key]
        assert not (forgotten and found)

    return look


def enrolled(box: MakeBox, **more: Any) -> Folder:
    one = box(**more)
    one.agent.run(until=Step.STEADY)
    one.close()
    return read(one.disk.root)


@EITHER
def test_a_power_cut_while_a_copied_state_is_forgotten_leaves_nothing_of_it(
    hq: FakeHq, box: MakeBox, tmp_path: Path, factory: Factory | None
) -> None:
    """`factory`: the secret of the board that the copy lies on; the board that it was taken from has none."""
    begin = enrolled(box)
    at_once = no_key_outlives_its_state((tmp_path / "box" / "current" / "key.pem").read_bytes())
    (before,), old_key = names(hq), next(iter(hq.book.devices))
    said_before = len(hq.book.calls)
    ops = RecordingOps(tmp_path / "box", Worlds(hq))
    other = box(ops=ops, serial="another board", factory=factory)
    other.agent.run(until=Step.STEADY)
    other.close()

    def check(box: TestBox) -> None:
        assert len(hq.book.devices) == 2
        assert box.store.state.names[0] != before
        # Nothing was ever said with the identity that is not this board's.
        said = {hq._key(call.request).thumbprint() for call in hq.book.calls[said_before:]}
        assert old_key not in said

    more = {"serial": "another board", "factory": factory}
    assert boot_from_each_cut(hq, box, tmp_path, begin, ops, at_once=at_once, check=check, **more) > 20


@EITHER
def test_a_power_cut_during_a_reset_that_hq_orders_leaves_one_box(
    hq: FakeHq, box: MakeBox, tmp_path: Path, factory: Factory | None
) -> None:
    begin = enrolled(box, factory=factory)
    (before,) = names(hq)
    hq.book.commands = ["reset"]
    ops = RecordingOps(tmp_path / "box", Worlds(hq))
    again = box(ops=ops, factory=factory)
    again.agent.run(until=Step.STEADY)
    again.agent.advance()
    again.agent.run(until=Step.STEADY)
    assert again.store.state.names[0] != before
    again.close()
    check = one_name(hq) if factory else at_most_one_new(hq, before)
    assert boot_from_each_cut(hq, box, tmp_path, begin, ops, check=check, factory=factory) > 20


@EITHER
def test_a_power_cut_during_a_reset_by_the_owner_leaves_the_old_box_or_the_new_one(
    hq: FakeHq, box: MakeBox, tmp_path: Path, factory: Factory | None
) -> None:
    begin = enrolled(box, factory=factory)
    at_once = no_key_outlives_its_state((tmp_path / "box" / "current" / "key.pem").read_bytes())
    (before,) = names(hq)
    ops = RecordingOps(tmp_path / "box", Worlds(hq))
    sealing.reset(tmp_path / "box", ops)
    check = one_name(hq) if factory else at_most_one_new(hq, before)
    assert boot_from_each_cut(hq, box, tmp_path, begin, ops, at_once=at_once, check=check, factory=factory) > 10


def at_most_one_new(hq: FakeHq, before: str) -> Callable[[TestBox], None]:
    """What HQ sees of a box that cannot prove to be the same one: the old name, and one new at most."""

    def check(box: TestBox) -> None:
        assert before in names(hq)
        assert len(hq.book.devices) == (1 if box.store.state.names[0] == before else 2)

    return check


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
        boot_from_each_cut(hq, box, tmp_path, Folder(), ops, check=one_name(hq))
