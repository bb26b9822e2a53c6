"""What happens at each start: it is counted, a cut-off reset is finished, a foreign state is forgotten."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from agent.tests.harness.box import HeldTime, TestBox
from agent.tests.harness.hq import FakeHq

from otscert_agent import state
from otscert_agent.binding import Belongs, judge
from otscert_agent.board import Board
from otscert_agent.disk import FileOps
from otscert_agent.errors import ConfigError
from otscert_agent.factory_secret import FactorySecret
from otscert_agent.loop import Agent, Handed
from otscert_agent.starting import HARDWARE_LOOKS
from otscert_agent.state import Bound, BoxState
from otscert_agent.steps import Step
from otscert_agent.wire.factory import Factory

MakeBox = Callable[..., TestBox]
UNIT = Factory.from_bytes(bytes(range(32)))
OTHER = Factory.from_bytes(bytes(range(1, 33)))


def payloads(hq: FakeHq, path: str) -> list[dict[str, object]]:
    return [call.payload for call in hq.book.calls if path in call.path]


def enrolled(box: MakeBox, **more: object) -> TestBox:
    """A box that has enrolled, checked in once, and is switched off."""
    one = box(**more)
    one.agent.run(until=Step.STEADY)
    one.agent.advance()
    one.close()
    return one


def forget_newer_members(folder: Path) -> None:
    """Make the state one of an agent that knew no boards."""
    path = folder / "state.json"
    members = json.loads(path.read_text())
    for name in ("bound", "boots", "forgetting"):
        del members[name]
    path.write_text(json.dumps(members))


# ---- the count of starts


def test_each_start_has_a_number_of_its_own_which_hq_is_told(hq: FakeHq, box: MakeBox) -> None:
    for _ in range(3):
        enrolled(box)
    assert payloads(hq, "hello")[0]["boot"] == 1
    assert [payload["boot"] for payload in payloads(hq, "checkin")] == [1, 2, 3]


def test_the_count_is_on_disk_before_anything_else_happens(hq: FakeHq, box: MakeBox) -> None:
    one = box()
    one.agent.run(until=Step.HOLD)
    assert state.load(one.disk).boots == 1
    assert hq.book.calls == []


def test_the_image_after_a_handover_is_no_start(box: MakeBox) -> None:
    first = enrolled(box)
    again = box()
    again.agent = Agent(again.agent._parts, Handed(due=again.time.now(), canary="c" * 64))
    again.agent.advance()
    assert again.store.state.boots == first.store.state.boots == 1


def test_a_reset_does_not_begin_to_count_anew(hq: FakeHq, box: MakeBox) -> None:
    one = box()
    one.agent.run(until=Step.STEADY)
    hq.book.commands = ["reset"]
    one.agent.advance()
    assert one.store.state.boots == 1
    one.close()
    assert enrolled(box).store.state.boots == 2


class FullDisk(FileOps):
    full = False

    def write(self, path: Path, data: bytes) -> None:
        if self.full and path.name == "state.json.tmp":
            raise OSError(28, "No space left on device")
        super().write(path, data)


def test_a_disk_that_takes_nothing_more_does_not_keep_the_page_from_being_served(box: MakeBox) -> None:
    enrolled(box)
    ops = FullDisk()
    one = box(ops=ops)
    shown: list[bool] = []
    parts = dataclasses.replace(one.agent._parts, start_page=lambda: shown.append(True))
    ops.full = True
    agent = one.agent = Agent(parts)
    agent.advance()
    assert (agent.step, shown) == (Step.LOCK, [True])
    ops.full = False
    agent.run(until=Step.STEADY)
    assert one.store.state.boots == 2


# ---- whose state it is


@pytest.mark.parametrize(
    ("bound", "unit", "belongs"),
    [
        (None, None, Belongs.HERE),
        (None, "u", Belongs.HERE),
        (Bound("here"), None, Belongs.HERE),
        (Bound("here"), "u", Belongs.HERE),
        (Bound("here", "u"), "u", Belongs.HERE),
        (Bound("here", "u"), None, Belongs.HERE),
        (Bound("here", "v"), "u", Belongs.ELSEWHERE),
        (Bound("there", "u"), "u", Belongs.ELSEWHERE),
        (Bound("there"), None, Belongs.ELSEWHERE),
        (Bound("there"), "u", Belongs.ELSEWHERE),
    ],
)
def test_whose_state_it_is(bound: Bound | None, unit: str | None, belongs: Belongs) -> None:
    assert judge(bound, fingerprint="here", unit=unit).belongs is belongs


def test_a_state_remembers_the_board_that_hq_was_told_of(hq: FakeHq, box: MakeBox) -> None:
    one = enrolled(box)
    assert one.store.state.bound == Bound(str(payloads(hq, "hello")[0]["hardware_fingerprint"]))
    hq.stamp(UNIT)
    two = enrolled(box, name="stamped", factory=UNIT)
    assert two.store.state.bound is not None
    assert two.store.state.bound.unit == UNIT.public.thumbprint()


def test_a_copied_state_is_forgotten_on_the_other_board_which_enrols_as_a_new_box(hq: FakeHq, box: MakeBox) -> None:
    before = enrolled(box).store.state
    other = box(serial="another board")
    other.agent.run(until=Step.ENTROPY)
    after = other.store.state
    assert other.disk.current_pair() is None
    assert other.disk.versions() == []  # the TLS key is gone, not only out of use
    assert (after.identity, after.epoch_token, after.names, after.pending, after.device_id) == (
        None,
        None,
        [],
        None,
        None,
    )
    assert (after.pool, after.attempt, after.hq) == (before.pool, before.attempt, before.hq)
    assert after.boots == before.boots + 1
    assert after.bound is None  # until HQ is told of this board
    assert "copied image" in other.lines("problem")[0]["why"]
    other.agent.run(until=Step.STEADY)
    assert len(hq.book.devices) == 2
    assert len({device.name for device in hq.book.devices.values()}) == 2
    assert hq.book.violations == []


def test_nothing_is_forgotten_before_the_hardware_was_looked_at_for_half_a_minute(box: MakeBox) -> None:
    enrolled(box)
    other = box(serial="another board", time=HeldTime(100))
    for look in range(HARDWARE_LOOKS):
        assert other.disk.current_pair() is not None, look
        other.agent.advance()
        assert other.agent.step is Step.LOCK
    assert sum(other.time.waits) == 30
    assert "looking again" in other.lines("waiting")[0]["why"]
    other.agent.advance()
    assert other.disk.current_pair() is None


def test_a_network_card_that_comes_up_late_costs_nothing(box: MakeBox) -> None:
    enrolled(box)
    one = box()
    late = ["without the card", "without the card"]

    class LateBoard:
        def fingerprint(self) -> str:
            return late.pop() if late else Board("", FactorySecret(one.settings)).fingerprint()

        def unit(self) -> str | None:
            return None

        def factory(self) -> Factory | None:
            return None

    one.agent = Agent(dataclasses.replace(one.agent._parts, board=LateBoard()))  # type: ignore[arg-type]  # a slow board
    one.agent.run(until=Step.STEADY)
    assert one.store.state.device_id is not None
    assert len(one.lines("step")) > 3


def test_an_older_agents_state_is_bound_where_it_is(hq: FakeHq, box: MakeBox) -> None:
    one = enrolled(box)
    forget_newer_members(one.disk.root)
    again = enrolled(box)
    assert again.store.state.device_id == one.store.state.device_id
    assert again.store.state.bound == one.store.state.bound
    assert len(payloads(hq, "hello")) == 1


def test_a_copied_state_with_another_factory_secret_is_forgotten(hq: FakeHq, box: MakeBox) -> None:
    hq.stamp(UNIT)
    hq.stamp(OTHER)
    enrolled(box, factory=UNIT)
    other = box(factory=OTHER)
    other.agent.run(until=Step.STEADY)
    assert "another factory secret" in json.dumps(other.lines("problem"))
    assert {device.unit for device in hq.book.devices.values()} == {
        UNIT.public.thumbprint(),
        OTHER.public.thumbprint(),
    }


@pytest.mark.parametrize("older", [False, True])
def test_a_box_that_is_stamped_later_keeps_its_name_until_it_starts_over(
    hq: FakeHq, box: MakeBox, *, older: bool
) -> None:
    hq.stamp(UNIT)
    before = enrolled(box)
    if older:
        forget_newer_members(before.disk.root)
    one = box(factory=UNIT)
    hq.book.commands = ["renew"]
    one.agent.run(until=Step.STEADY)
    one.agent.advance()
    one.agent.run(until=Step.STEADY)
    assert one.store.state.names == before.store.state.names
    assert len(hq.book.chains) == 2
    assert "factory" in payloads(hq, "hello")[1]["report"]["used"]  # type: ignore[index]  # a nested object
    hq.book.commands = ["reset"]
    one.agent.advance()
    one.agent.run(until=Step.STEADY)
    assert one.store.state.names != before.store.state.names
    assert [device.unit for device in hq.book.devices.values()] == [None, UNIT.public.thumbprint()]
    assert hq.book.violations == []


def test_a_secret_that_cannot_be_read_any_more_stops_a_new_box_and_not_one_that_serves(
    hq: FakeHq, box: MakeBox, tmp_path: Path
) -> None:
    hq.stamp(UNIT)
    enrolled(box, factory=UNIT)
    gone = {"factory_file": str(tmp_path / "gone")}
    one = box(**gone)
    one.agent.run(until=Step.STEADY)
    assert "gone cannot be read" in one.lines("problem")[0]["why"]
    with pytest.raises(ConfigError, match="gone cannot be read"):
        box("new", **gone).agent.run(until=Step.STEADY)


def test_a_reset_that_was_cut_off_is_finished_first(hq: FakeHq, box: MakeBox) -> None:
    one = enrolled(box)
    one.disk.lock()
    one.store.save(forgetting=True)
    one.close()
    again = box()
    again.agent.run(until=Step.HOLD)
    assert again.store.state == BoxState(
        attempt=one.store.state.attempt,
        pool=one.store.state.pool,
        hq=one.store.state.hq,
        bound=one.store.state.bound,
        boots=2,
    )
    assert again.disk.current_pair() is None
    assert hq.book.violations == []
