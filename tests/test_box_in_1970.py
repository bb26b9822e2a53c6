"""A box without a clock: it believes that it is 1970, and boots to the padlock; what is foreign it refuses as ever."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from otscert.ops.demo_hq import MODEL, DemoHq, Ports
from otscert.ops.pebble import Pebble
from otscert.ops.verify import verify_box
from otscert.pki.certificates import make_root, utc_now_from
from otscert.pki.files import PkiFolder
from tests.harness.agent_process import AgentProcess, running_agent
from tests.harness.parts import require_part
from tests.harness.ports import free_port

BOOT_S = 60.0
REFUSAL_S = 30.0
VERIFY_S = 5.0
pytestmark = pytest.mark.timeout(180)


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A real HQ with a real CA, both in the present."""

    hq: DemoHq
    roots: Path
    """The public CA's, for who looks at the box's page."""

    @property
    def pki(self) -> PkiFolder:
        return PkiFolder(folder=self.hq.root_pem.parent)


@pytest.fixture
def world(tmp_path: Path, pebble: Callable[..., Pebble]) -> Iterator[World]:
    ports = Ports(device=free_port(), dns=free_port())
    ca = pebble(dns_server=f"127.0.0.1:{ports.dns}")
    roots = tmp_path / "public-roots.pem"
    roots.write_text("".join(ca.issuing_roots()), encoding="ascii")
    (tmp_path / "hq-folder").mkdir()
    hq = DemoHq(tmp_path / "hq-folder", ports, died=lambda _status: None)
    try:
        hq.start(ca)
        yield World(hq=hq, roots=roots)
    finally:
        hq.stop()


@pytest.fixture
def in_1970() -> dict[str, str]:
    """The environment of a process whose clock began at the epoch; spans of time pass as they do."""
    part = "libfaketime-arm64" if platform.machine() == "aarch64" else "libfaketime"
    return {
        "LD_PRELOAD": str(require_part(part).path),
        "FAKETIME": "@1970-01-01 00:00:00",
        "TZ": "UTC",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "NO_FAKE_STAT": "1",
    }


def may_not_set_the_clock() -> tuple[str, ...]:
    """What to put before the agent: the clock of the machine that runs this test is not the test's."""
    return ("setpriv", "--bounding-set", "-sys_time") if os.geteuid() == 0 else ()


def boot(
    world: World, folder: Path, env: dict[str, str], *, hq_url: str = "", roots: Path | None = None
) -> AbstractContextManager[AgentProcess]:
    return running_agent(
        folder,
        hq_url=hq_url or world.hq.public_url,
        roots=roots or world.hq.root_pem,
        model=MODEL,
        before=may_not_set_the_clock(),
        env=env,
        set_clock="if-wrong",
    )


def test_the_disguise_works_and_a_client_that_minds_dates_is_lost_in_it(world: World, in_1970: dict[str, str]) -> None:
    code = f"""
import socket, ssl, time
print(int(time.time()), flush=True)
context = ssl.create_default_context(cafile={str(world.hq.root_pem)!r})
context.wrap_socket(socket.create_connection(("127.0.0.1", {world.hq.ports.device})), server_hostname="127.0.0.1")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **in_1970}, check=False, capture_output=True, text=True
    )
    assert 0 <= int(done.stdout) < 60
    assert "certificate is not yet valid" in done.stderr


def test_first_boot_to_the_padlock_works_and_time_comes_from_hqs_signature(
    world: World, in_1970: dict[str, str], tmp_path: Path
) -> None:
    with boot(world, tmp_path / "box", in_1970) as box:
        serving = box.wait_for_kind("serving", within_s=BOOT_S)
        verdict = verify_box(
            serving["name"],
            serving["port"],
            root_pem=world.roots,
            dns_port=world.hq.ports.dns,
            until_s=time.monotonic() + VERIFY_S,
        )
        assert verdict.error is None
        # What the process itself thinks of its clock; that it may not set it changes nothing.
        (said,) = [line["why"] for line in box.lines if "system clock" in str(line.get("why"))]
        assert said.startswith("the system clock says 1970-01-01T00:0")
        assert f"HQ says {time.strftime('%Y-%m', time.gmtime())}" in said
        assert "CAP_SYS_TIME" in said
        steady = box.wait_for(lambda line: line.get("step") == "STEADY", within_s=BOOT_S)
        assert steady["ms"] < BOOT_S * 1000
    newest = max(pair.certificate.not_valid_before_utc.timestamp() for pair in (world.pki.tls(), world.pki.answer()))
    assert box.state()["hq"]["floor"] == newest  # a date of a certificate, never the time itself


def test_a_wrong_host_name_is_refused_in_1970_too(world: World, in_1970: dict[str, str], tmp_path: Path) -> None:
    elsewhere = f"https://localhost:{world.hq.ports.device}"
    with boot(world, tmp_path / "box", in_1970, hq_url=elsewhere) as box:
        assert "Hostname mismatch" in _refusal(box)


def test_a_foreign_root_is_refused_in_1970_too(world: World, in_1970: dict[str, str], tmp_path: Path) -> None:
    root = make_root("boxes.demo.example", now=utc_now_from(int(time.time())))
    pins = tmp_path / "other-root.pem"
    pins.write_bytes(root.certificate.public_bytes(Encoding.PEM))
    with boot(world, tmp_path / "box", in_1970, roots=pins) as box:
        assert "unable to get local issuer certificate" in _refusal(box)


def _refusal(box: AgentProcess) -> str:
    """Why the box refuses who answers; it has come no further and learned nothing, the time least of all."""
    line = box.wait_for_problem("this is not the maker's HQ", within_s=REFUSAL_S)
    assert "NETWORK" not in box.steps()
    assert not [said for said in box.lines if "system clock" in str(said.get("why"))]
    assert not (box.state_dir / "state.json").exists() or box.state()["hq"]["floor"] == 0
    return str(line["why"])
