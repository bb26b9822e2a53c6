"""HQ's root is rotated under real agents: boxes with the old root, with both, or with the new one alone go on."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from agent.tests.harness.box import HeldTime, TestBox, make_box

from otscert.ops.demo_hq import MODEL, DemoHq, Ports
from otscert.ops.pebble import Pebble
from otscert.pki.files import PkiFolder
from otscert_agent.steps import Step
from tests.harness.ports import free_port

DEADLINE_S = 30.0
pytestmark = pytest.mark.timeout(180)


@dataclass(slots=True, kw_only=True)
class Maker:
    """A real HQ, and boxes of any firmware age at it."""

    hq: DemoHq
    folder: Path

    @property
    def pki(self) -> PkiFolder:
        return PkiFolder(folder=self.hq.root_pem.parent)

    @property
    def url(self) -> str:
        return self.hq.public_url

    @property
    def roots_pem(self) -> bytes:
        return self.pki.pins_pem.read_bytes()

    def box(self, name: str, pins: bytes) -> TestBox:
        return make_box(
            self,  # type: ignore[arg-type]  # of an HQ it takes the URL and the pins
            self.folder / name,
            roots=pins,
            model=MODEL,
            addresses=["127.0.0.1"],
            time=HeldTime(most_waits=5000),
        )

    def root(self, *arguments: str) -> None:
        """`otscert hq-root`, beside the running HQ."""
        config = str(self.hq.folder / "otscert.toml")
        command = [sys.executable, "-m", "otscert", "hq-root", *arguments, "--config", config]
        ended = subprocess.run(command, check=False, capture_output=True, text=True)
        assert ended.returncode == 0, ended.stderr


@pytest.fixture
def maker(tmp_path: Path, pebble: Callable[..., Pebble]) -> Iterator[Maker]:
    ports = Ports(device=free_port(), dns=free_port())
    ca = pebble(dns_server=f"127.0.0.1:{ports.dns}")
    (tmp_path / "hq-folder").mkdir()
    hq = DemoHq(tmp_path / "hq-folder", ports, died=lambda _status: None)
    try:
        hq.start(ca)
        yield Maker(hq=hq, folder=tmp_path)
    finally:
        hq.stop()


def hears(one: TestBox, *, generation: int) -> None:
    """Go on until HQ has answered with keys of this generation; nothing on the way may be a problem."""
    one.agent.close()
    until_s = time.monotonic() + DEADLINE_S
    while (seen := (one.store.state.hq.answer_generation, one.store.state.hq.tls_generation)) != (generation,) * 2:
        assert time.monotonic() < until_s, f"{seen}: {one.said.getvalue()[-1000:]}"
        one.agent.advance()
    one.agent.run(until=Step.STEADY)
    assert one.lines("problem") == []
    assert one.disk.current_pair() is not None


def test_boxes_of_every_firmware_age_go_on_and_enrol_while_the_root_is_rotated(maker: Maker) -> None:
    old = maker.roots_pem
    boxes = {"before": maker.box("before", old)}
    hears(boxes["before"], generation=1)
    maker.root("rotate")
    both = maker.roots_pem
    assert both.startswith(old)
    assert len(both) > len(old)
    boxes["between"] = maker.box("between", both)
    hears(boxes["between"], generation=1)
    maker.root("rotate", "--switch")
    for one in boxes.values():
        hears(one, generation=2)
    new = maker.pki.root_pem.read_bytes()
    # First boots, of boxes that lay in a drawer, and of those that were made last.
    for name, pins in {"old": old, "both": both, "new": new}.items():
        boxes[name] = maker.box(name, pins)
        hears(boxes[name], generation=2)
    assert len({one.store.state.names[0] for one in boxes.values()}) == 5
    maker.root("rotate", "--finish", "--yes")
    maker.root("sign")
    for name in ("between", "both", "new"):
        hears(boxes[name], generation=3)
    lost = boxes["old"]
    lost.agent.close()
    until_s = time.monotonic() + DEADLINE_S
    while not lost.lines("problem"):
        assert time.monotonic() < until_s, "firmware with the old root alone still believes HQ"
        lost.agent.advance()
    assert "this is not the maker's HQ" in lost.lines("problem")[0]["why"]
    for one in boxes.values():
        one.close()
