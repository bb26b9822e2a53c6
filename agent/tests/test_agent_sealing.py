"""`seal` leaves nothing for an image, `reset` a box that enrols anew; both only while no agent runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from agent.tests.harness.box import TestBox
from agent.tests.harness.hq import FakeHq

from otscert_agent import sealing
from otscert_agent.disk import Disk, FileOps
from otscert_agent.errors import StateError
from otscert_agent.state import Store
from otscert_agent.steps import Step

MakeBox = Callable[..., TestBox]
COMMAND = [sys.executable, "-m", "otscert_agent.cli"]


@pytest.fixture
def folder(box: MakeBox) -> Path:
    """The state folder of a box that has enrolled and was switched off."""
    one = box()
    one.agent.run(until=Step.STEADY)
    one.close()
    return one.disk.root


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_an_enrolled_box_is_sealed_to_an_empty_folder(folder: Path) -> None:
    sealed = sealing.seal(folder, hold=False)
    assert names(folder) == []
    assert set(sealed.removed) >= {"current", "pairs", "state.json", "lock"}
    assert sealed.removed[0] == "current"


def test_with_hold_the_hold_file_stays_and_nothing_else(folder: Path) -> None:
    assert sealing.seal(folder, hold=True).hold
    assert names(folder) == ["hold"]
    assert sealing.seal(folder, hold=True).removed == []
    assert names(folder) == ["hold"]
    assert sealing.seal(folder, hold=False).removed == ["hold"]
    assert names(folder) == []


def test_sealing_again_changes_nothing(folder: Path) -> None:
    sealing.seal(folder, hold=False)
    assert sealing.seal(folder, hold=False).removed == []
    assert names(folder) == []


def test_a_folder_that_is_not_there_is_sealed_already(tmp_path: Path) -> None:
    assert sealing.seal(tmp_path / "none", hold=False).removed == []
    assert not (tmp_path / "none").exists()
    sealing.seal(tmp_path / "none", hold=True)
    assert names(tmp_path / "none") == ["hold"]


def test_a_sealed_image_on_hold_does_not_enrol_until_it_is_let_go(hq: FakeHq, box: MakeBox, folder: Path) -> None:
    before = len(hq.book.calls)
    sealing.seal(folder, hold=True)
    one = box()
    for _ in range(5):
        one.agent.advance()
    assert one.agent.step is Step.HOLD
    assert len(hq.book.calls) == before
    (folder / "hold").unlink()
    one.agent.run(until=Step.STEADY)
    assert len(hq.book.devices) == 2


def test_nothing_is_removed_while_an_agent_runs(box: MakeBox) -> None:
    one = box()
    one.agent.run(until=Step.STEADY)
    before = names(one.disk.root)
    for command in (lambda: sealing.seal(one.disk.root, hold=False), lambda: sealing.reset(one.disk.root)):
        with pytest.raises(StateError, match="another agent is running"):
            command()
    assert names(one.disk.root) == before


def test_nothing_is_removed_from_a_folder_that_others_use(folder: Path) -> None:
    (folder / "holiday.jpg").write_bytes(b"x")
    before = names(folder)
    with pytest.raises(StateError, match=r"has not written \(holiday.jpg\): nothing was removed"):
        sealing.seal(folder, hold=False)
    assert names(folder) == before


def test_what_is_removed_is_overwritten_where_it_lies(folder: Path) -> None:
    pair = next((folder / "pairs").iterdir())
    twin = folder.parent / "twin"
    twin.hardlink_to(pair / "key.pem")  # the same bytes on disk, seen after the file is gone
    length = len(twin.read_bytes())
    sealing.seal(folder, hold=False)
    assert twin.read_bytes() == bytes(length)


def test_a_link_is_removed_and_not_followed(folder: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"keep me")
    (folder / "pairs" / "link").symlink_to(outside)
    (folder / "status.json").unlink()
    (folder / "status.json").symlink_to(outside)
    sealing.seal(folder, hold=False)
    assert outside.read_bytes() == b"keep me"
    assert names(folder) == []


def test_a_removal_is_on_disk_when_it_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(FileOps, "fsync", lambda _self, path: synced.append(path))
    sealing.seal(folder, hold=False)
    assert synced[-1] == folder
    assert synced.count(folder) >= 5


def test_a_reset_forgets_who_the_box_was_and_keeps_what_protects_the_next(
    hq: FakeHq, box: MakeBox, folder: Path
) -> None:
    before = box()
    state = before.store.state
    before.close()
    forgotten = sealing.reset(folder)
    assert forgotten.device_id == state.device_id
    assert forgotten.names == state.names
    one = box()
    after = one.store.state
    assert (after.pool, after.attempt, after.boots, after.hq) == (state.pool, state.attempt, state.boots, state.hq)
    assert (after.identity, after.device_id, after.epoch_token, after.names) == (None, None, None, [])
    assert one.disk.versions() == []
    one.agent.run(until=Step.STEADY)
    assert one.store.state.names != state.names
    assert hq.book.violations == []
    one.close()
    assert sealing.reset(folder).device_id is not None
    assert sealing.reset(folder) == sealing.Forgotten(names=[], device_id=None)


def twin_of(path: Path, folder: Path) -> Path:
    """The same bytes on disk, seen after the file is gone."""
    twin = folder.parent / f"twin-{path.name}"
    twin.hardlink_to(path)
    assert any(twin.read_bytes())
    return twin


def test_what_an_owners_reset_forgets_is_overwritten_where_it_lies(folder: Path) -> None:
    state, key = twin_of(folder / "state.json", folder), twin_of((folder / "current").resolve() / "key.pem", folder)
    sealing.reset(folder)
    assert not any(state.read_bytes())
    assert not any(key.read_bytes())


def test_what_a_reset_by_hq_forgets_is_overwritten_where_it_lies(hq: FakeHq, box: MakeBox, folder: Path) -> None:
    one = box()
    one.agent.run(until=Step.STEADY)
    key = twin_of((folder / "current").resolve() / "key.pem", folder)
    hq.book.commands = ["reset"]
    one.agent.advance()
    assert one.agent.step is Step.HOLD
    assert not any(key.read_bytes())


def test_a_reset_is_not_kept_by_a_file_that_cannot_be_overwritten(folder: Path) -> None:
    class Worn(FileOps):
        def blank_open(self, descriptor: int) -> None:
            os.close(descriptor)
            raise OSError(28, "No space left on device")

    sealing.reset(folder, Worn())
    assert Store(Disk(folder)).state.device_id is None
    assert Disk(folder).versions() == []


# ---- as commands


@pytest.fixture
def run(hq: FakeHq, folder: Path) -> Callable[..., tuple[int, str, str]]:
    config = folder.parent / "agent.toml"
    (folder.parent / "pins.pem").write_bytes(hq.roots_pem)
    values = {
        "hq_url": hq.url,
        "hq_roots": str(folder.parent / "pins.pem"),
        "model": "m1",
        "state_dir": str(folder),
    }
    config.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items()))

    def run(*arguments: str) -> tuple[int, str, str]:
        done = subprocess.run(
            [*COMMAND, *arguments, "--config", str(config)], capture_output=True, text=True, timeout=30, check=False
        )
        return done.returncode, done.stdout, done.stderr

    return run


def test_seal_says_what_it_removed(run: Callable[..., tuple[int, str, str]]) -> None:
    status, out, _ = run("seal", "--hold")
    assert status == 0
    assert "removed: state.json" in out
    assert "on hold" in out
    assert run("seal", "--json") == (0, '{"removed": ["hold"], "hold": false}\n', "")
    assert run("seal") == (0, "nothing to remove\n", "")


def test_reset_says_whom_it_forgot(run: Callable[..., tuple[int, str, str]], folder: Path) -> None:
    name = json.loads((folder / "state.json").read_text())["names"][0]
    status, out, _ = run("reset")
    assert (status, name in out) == (0, True)
    assert run("reset") == (0, "there was no identity to forget\n", "")
    assert json.loads(run("reset", "--json")[1]) == {"names": [], "device_id": None}
    assert "reset" in run("status")[1]


def test_both_refuse_while_an_agent_runs(run: Callable[..., tuple[int, str, str]], box: MakeBox) -> None:
    box()
    for command in ("seal", "reset"):
        status, out, err = run(command)
        assert (status, out) == (1, "")
        assert "another agent is running" in err
