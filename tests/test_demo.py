"""The product's main job as a newcomer sees it: `otscert demo`, on the real CA, HQ and agent."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.chromium import assert_browser_accepts, assert_browser_refuses
from tests.harness.demo import STOP_S, RunningDemo, alive, running_demo
from tests.harness.parts import require_part

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def demo() -> Iterator[RunningDemo]:
    """A demo with one box that stays up, as `make demo` leaves it."""
    with running_demo() as running:
        running.read_to_summary()
        assert running.summary["verified"] == 1, running.boxes
        yield running


def test_a_box_is_verified_and_its_boot_is_told_step_by_step(demo: RunningDemo) -> None:
    (box,) = demo.boxes
    assert box["verified"]
    assert box["error"] is None
    assert box["addresses"] == ["127.0.0.1"]
    assert [step["step"] for step in box["steps"]][-3:] == ["INSTALL", "VERIFY_SERVED", "STEADY"]
    times = [step["ms"] for step in box["steps"]]
    assert times == sorted(times)
    assert times[-1] > 0
    assert 0 < box["boot_to_https_ms"] < 60_000


def test_curl_accepts_the_page_with_the_printed_line(demo: RunningDemo) -> None:
    (box,) = demo.boxes
    curl = require_part("curl")
    url = f"https://{box['name']}:{box['port']}/"
    line = [
        str(curl.path),
        "--fail",
        "--silent",
        "--cacert",
        str(demo.root_pem),
        "--resolve",
        f"{box['name']}:{box['port']}:127.0.0.1",
        url,
    ]
    page = subprocess.run(line, check=True, capture_output=True, text=True, timeout=30)
    assert box["name"] in page.stdout
    headers = subprocess.run([*line, "--head"], check=True, capture_output=True, text=True, timeout=30).stdout
    assert "strict-transport-security" not in headers.lower()


def test_openssl_accepts_chain_and_host_name_and_refuses_another_name(demo: RunningDemo) -> None:
    (box,) = demo.boxes
    assert "Verify return code: 0 (ok)" in _s_client(demo, box["name"], box["port"])
    assert "Verify return code: 62 (hostname mismatch)" in _s_client(demo, f"other-{box['name']}", box["port"])


def _s_client(demo: RunningDemo, name: str, port: int) -> str:
    openssl = require_part("openssl")
    line = [str(openssl.path), "s_client", "-connect", f"127.0.0.1:{port}", "-servername", name]
    line += ["-verify_hostname", name, "-CAfile", str(demo.root_pem)]
    return subprocess.run(line, input="", check=False, capture_output=True, text=True, timeout=30).stdout


def test_chromium_shows_the_page_under_the_trusted_root(demo: RunningDemo, tmp_path: Path) -> None:
    (box,) = demo.boxes
    url = f"https://{box['name']}:{box['port']}/"
    roots = demo.root_pem.read_text(encoding="ascii")
    assert_browser_accepts(url, roots, {box["name"]: "127.0.0.1"}, shows=box["name"], folder=tmp_path)


def test_chromium_refuses_the_page_without_the_root(demo: RunningDemo, tmp_path: Path) -> None:
    (box,) = demo.boxes
    assert_browser_refuses(
        f"https://{box['name']}:{box['port']}/",
        None,
        {box["name"]: "127.0.0.1"},
        net_error="ERR_CERT_AUTHORITY_INVALID",
        never_shows="Certificate valid",
        folder=tmp_path,
    )


def test_chromium_refuses_the_page_under_another_host(demo: RunningDemo, tmp_path: Path) -> None:
    (box,) = demo.boxes
    other = "someone-else.boxes.demo.example"
    assert_browser_refuses(
        f"https://{other}:{box['port']}/",
        demo.root_pem.read_text(encoding="ascii"),
        {other: "127.0.0.1"},
        net_error="ERR_CERT_COMMON_NAME_INVALID",
        never_shows="Certificate valid",
        folder=tmp_path,
    )


def test_an_address_in_the_name_is_covered_by_name_and_certificate(demo: RunningDemo) -> None:
    (box,) = demo.boxes
    name = f"127-0-0-1.{box['name']}"
    dig = require_part("dig")
    asked = [str(dig.path), "@127.0.0.1", "-p", str(demo.started["ports"]["dns"]), "+short", name, "A"]
    answer = subprocess.run(
        asked, check=True, capture_output=True, text=True, timeout=30, env={**os.environ, **dig.env}
    )
    assert answer.stdout == "127.0.0.1\n"
    assert "Verify return code: 0 (ok)" in _s_client(demo, name, box["port"])


def test_ctrl_c_ends_everything_and_leaves_nothing() -> None:
    with running_demo() as running:
        running.read_to_summary()
        running.process.send_signal(signal.SIGINT)
        assert running.process.wait(STOP_S) == 0
    assert not running.data_dir.exists()
    assert not [pid for pid in running.pids() if alive(pid)]


@pytest.mark.parametrize("after_s", [0.0, 0.1, 0.6, 1.2])
def test_ctrl_c_while_it_starts_leaves_nothing_either(after_s: float, tmp_path: Path) -> None:
    pebble = require_part("pebble")
    line = [sys.executable, "-m", "otscert", "demo", "--pebble", str(pebble.path), "--boxes", "8"]
    process = subprocess.Popen(
        line, env={**os.environ, "TMPDIR": str(tmp_path)}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith("starting the CA")
    time.sleep(after_s)  # any moment from here on must do; a few are tried
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=STOP_S)
    assert "Traceback" not in said
    assert list(tmp_path.iterdir()) == []
    assert _processes_that_name(tmp_path) == []


def _processes_that_name(folder: Path) -> list[str]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            octets = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
        except OSError:
            continue
        if bytes(folder) in octets and int(entry.name) != os.getpid():
            found.append(octets.split(b"\0")[0].decode(errors="replace"))
    return found


def test_a_box_that_dies_is_named_and_makes_the_exit_status_fail() -> None:
    with running_demo("--once", "--boxes", "2") as running:
        os.kill(running.started["pids"]["boxes"][0], signal.SIGKILL)
        running.read_to_summary()
        assert running.process.wait(STOP_S) == 1
    assert sorted(box["verified"] for box in running.boxes) == [False, True]
    (failed,) = [box for box in running.boxes if not box["verified"]]
    assert "ended with status -9" in failed["error"]


def test_a_missing_test_ca_is_said_with_what_to_do(tmp_path: Path) -> None:
    line = [sys.executable, "-m", "otscert", "demo", "--once", "--pebble", str(tmp_path / "none")]
    ended = subprocess.run(line, check=False, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1
    assert "make parts" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("boxes_before", [0, 1])
def test_twenty_boxes_are_verified_although_hq_is_killed_in_the_middle(boxes_before: int) -> None:
    with running_demo("--boxes", "20") as running:
        running.read_boxes(boxes_before)
        running.kill_hq()
        running.read_to_summary()
        assert [box["error"] for box in running.boxes if not box["verified"]] == []
        assert running.summary["verified"] == 20
        assert running.summary["hq_restarts"] == 1
        _assert_one_certificate_for_each_csr(running)


def test_an_hq_that_is_being_started_again_ends_with_the_demo() -> None:
    with running_demo() as running:
        running.read_to_summary()
        running.kill_hq()
        time.sleep(0.3)  # long enough to be noticed, too short for HQ to be ready again
    folder = running.data_dir
    assert not folder.exists()
    assert _processes_that_name(folder) == []


def _assert_one_certificate_for_each_csr(running: RunningDemo) -> None:
    """The rule of kill -9: never two certificates for one CSR, never two finalized orders, nothing lost."""
    database = sqlite3.connect(f"file:{running.data_dir / 'hq' / 'hq.db'}?mode=ro", uri=True)
    try:
        rows = database.execute(
            "SELECT count(*), count(DISTINCT csr_der), sum(state = 'issued'), count(DISTINCT url) FROM cert_order"
        ).fetchone()
        certificates, keys = database.execute(
            "SELECT count(*), count(DISTINCT spki_sha256) FROM certificate"
        ).fetchone()
        devices = database.execute("SELECT count(*) FROM device").fetchone()[0]
    finally:
        database.close()
    orders, csrs, issued, urls = rows
    assert orders == csrs == issued == urls == certificates == keys
    assert devices == 20
