"""A state folder that somebody else has filled, a disk that takes half a file, a command that never stops talking."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from agent.tests.harness.box import TestBox, secret_file

from otscert_agent import config, sealing
from otscert_agent.disk import Disk
from otscert_agent.errors import ConfigError, StateError
from otscert_agent.factory_secret import FactorySecret
from otscert_agent.facts import installed_facts
from otscert_agent.serve import PairError, load_pair
from otscert_agent.state import BoxState, Store
from otscert_agent.steps import Step
from otscert_agent.wire.factory import Factory

MakeBox = Callable[..., TestBox]


def test_a_link_in_the_place_of_the_pairs_costs_nobody_a_file(tmp_path: Path) -> None:
    victim = tmp_path / "victim" / "etc"
    victim.mkdir(parents=True)
    (victim / "passwd").write_text("root")
    (tmp_path / "box").mkdir()
    (tmp_path / "box" / "pairs").symlink_to(tmp_path / "victim")
    disk = Disk(tmp_path / "box")
    with pytest.raises(StateError, match="is a link"):
        disk.prepare()
    with pytest.raises(StateError, match="is a link"):
        sealing.reset(tmp_path / "box")
    assert (victim / "passwd").exists()


def test_links_among_the_pairs_cost_nobody_a_file(box: MakeBox, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "passwd").write_text("root")
    one = box()
    (one.disk.root / "pairs" / "000000").symlink_to(victim)
    (one.disk.root / "pairs" / "lost").mkdir()
    one.disk.current.symlink_to(victim)
    assert one.disk.current_pair() is None
    one.agent.run(until=Step.STEADY)
    assert (victim / "passwd").exists()


@pytest.mark.parametrize("name", ["state.json", "state.json.tmp"])
def test_a_pipe_in_the_place_of_a_file_is_told_and_not_waited_for(tmp_path: Path, name: str) -> None:
    disk = Disk(tmp_path / "box")
    disk.prepare()
    os.mkfifo(disk.root / name)
    with pytest.raises(StateError, match=r"state\.json"):
        Store(disk).save(attempt=1)


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"null", b"\xff", b"[" * 100_000, b'{"version":1}', b'{"version":1,"po']
)
def test_a_state_that_is_none_is_told(tmp_path: Path, content: bytes) -> None:
    disk = Disk(tmp_path / "box")
    disk.prepare()
    (disk.root / "state.json").write_bytes(content)
    with pytest.raises(StateError, match="is damaged"):
        Store(disk)


def test_a_state_as_large_as_the_disk_is_not_read(tmp_path: Path) -> None:
    disk = Disk(tmp_path / "box")
    disk.prepare()
    with (disk.root / "state.json").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(StateError, match="no file of the agent's"):
        Store(disk)


@pytest.mark.parametrize("kind", ["pipe", "huge"])
@pytest.mark.parametrize("name", ["facts.json", "chain.pem", "key.pem"])
def test_what_is_no_file_inside_a_pair_is_told_and_not_waited_for(box: MakeBox, name: str, kind: str) -> None:
    one = box()
    one.agent.run(until=Step.STEADY)
    path = one.disk.current.resolve() / name
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    else:
        with path.open("wb") as file:
            file.truncate(1 << 40)
    reader = installed_facts if name == "facts.json" else lambda disk: load_pair(disk.current)
    with pytest.raises((StateError, PairError), match="no file of the agent's"):
        reader(one.disk)
    one.close()
    assert sealing.reset(one.disk.root).device_id is not None
    assert Disk(one.disk.root).versions() == []


@pytest.mark.parametrize(
    "facts",
    [
        b"[]",
        b"[" * 100_000,
        b'{"names":[],"not_before":0,"not_after":0,"leaf_sha256":""}',
        b'{"names":"ab","not_before":0,"not_after":0,"leaf_sha256":""}',
        b'{"names":[1],"not_before":0,"not_after":0,"leaf_sha256":""}',
        b'{"names":["a"],"not_before":1e400,"not_after":0,"leaf_sha256":""}',
        b'{"names":["a"],"not_before":0,"not_after":0,"leaf_sha256":null}',
    ],
)
def test_facts_that_are_none_are_told(box: MakeBox, facts: bytes) -> None:
    one = box()
    one.agent.run(until=Step.STEADY)
    (one.disk.current / "facts.json").write_bytes(facts)
    with pytest.raises(StateError, match=r"facts\.json cannot be read"):
        installed_facts(one.disk)


def test_half_a_state_is_never_put_in_the_place_of_a_whole_one(tmp_path: Path) -> None:
    """A disk that is almost full takes the first part of a file without complaint."""
    disk = Disk(tmp_path / "box")
    disk.prepare()
    Store(disk).replace(BoxState(attempt=7))
    program = f"""
import resource, signal
from pathlib import Path
from otscert_agent.disk import Disk
from otscert_agent.errors import StateError
from otscert_agent.state import Store
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
store = Store(Disk(Path({str(disk.root)!r})))
resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))
try:
    store.save(names=["n" * 4096])
except StateError:
    print("told")
"""
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout == "told\n"
    assert Store(disk).state.attempt == 7


def test_a_partition_of_its_own_can_be_sealed(tmp_path: Path) -> None:
    disk = Disk(tmp_path / "box")
    disk.prepare()
    (disk.root / "lost+found").mkdir()
    assert sealing.seal(disk.root, hold=False).removed == ["pairs"]


def secret_of(command: list[str], tmp_path: Path) -> FactorySecret:
    settings = config.Settings(
        hq_url="https://hq.example", hq_roots=tmp_path, model="m1", state_dir=tmp_path, factory_command=command
    )
    return FactorySecret(settings)


def test_a_command_that_never_stops_talking_is_stopped(tmp_path: Path) -> None:
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ConfigError, match="longer than a factory secret"):
        secret_of(["cat", "/dev/zero"], tmp_path).load()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb < 50_000


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_factory_file_of_another_user_is_refused(tmp_path: Path) -> None:
    path = secret_file(tmp_path / "secret", Factory(bytes(range(32))))
    settings = config.Settings(
        hq_url="https://hq.example", hq_roots=tmp_path, model="m1", state_dir=tmp_path, factory_file=str(path)
    )
    assert FactorySecret(settings).load() is not None
    os.chown(path, 65534, 65534)
    with pytest.raises(ConfigError, match="belongs to another user"):
        FactorySecret(settings).load()
