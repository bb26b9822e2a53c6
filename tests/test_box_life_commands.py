"""An operator's commands beside a real HQ process, a real agent process and Pebble: all of them follow."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import dns.message
import dns.query
import dns.rcode
import pytest

from otscert.ops.demo_box import DemoBox, Serving
from otscert.ops.demo_hq import DemoHq, Ports
from otscert.ops.pebble import Pebble
from tests.harness.ports import free_port

DEADLINE_S = 60.0
pytestmark = pytest.mark.timeout(240)


class Scene:
    """HQ, its CA, and one box that serves."""

    def __init__(self, hq: DemoHq, ca: Pebble, box: DemoBox, serving: Serving) -> None:
        self.hq, self.ca, self.box, self.serving = hq, ca, box, serving

    def command(self, *words: str) -> dict[str, Any]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("OTSCERT_")}
        done = subprocess.run(
            [sys.executable, "-m", "otscert", *words, "--config", str(self.hq.folder / "otscert.toml"), "--json"],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            env={**environment, "OTSCERT_CHECKIN_S": "2"},
        )
        assert done.returncode == 0, done.stderr
        document: dict[str, Any] = json.loads(done.stdout)
        return document

    def rcode(self, name: str) -> dns.rcode.Rcode:
        query = dns.message.make_query(name, "A")
        return dns.query.udp(query, "127.0.0.1", port=self.hq.ports.dns, timeout=5).rcode()

    def status(self, serial: str) -> str:
        context = ssl.create_default_context(cafile=str(self.ca.api_trust))
        url = f"https://localhost:{self.ca.management_port}/cert-status-by-serial/{serial}"
        with urllib.request.urlopen(url, context=context, timeout=5) as answer:
            return str(json.load(answer)["Status"])


def until(what: str, so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not so():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)  # bounded by the deadline


@pytest.fixture
def scene(tmp_path: Path, pebble: Callable[..., Pebble], monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    ports = Ports(device=free_port(), dns=free_port())
    ca = pebble(dns_server=f"127.0.0.1:{ports.dns}")
    monkeypatch.setenv("OTSCERT_CHECKIN_S", "2")
    (tmp_path / "hq-folder").mkdir()
    with ExitStack() as stack:
        hq = DemoHq(tmp_path / "hq-folder", ports, died=lambda _status: None)
        stack.callback(hq.stop)
        hq.start(ca)
        box = DemoBox.start(tmp_path / "box", hq)
        stack.callback(box.stop)
        serving = box.wait_serving(until_s=time.monotonic() + DEADLINE_S)
        assert serving is not None, box.why_not()
        yield Scene(hq, ca, box, serving)


def test_a_box_that_is_reset_gets_another_name_and_its_certificate_is_revoked(scene: Scene) -> None:
    old = scene.serving
    shown = scene.command("device", "show", old.name)
    serial = shown["certificate"]["serial"]
    assert (scene.rcode(old.name), scene.status(serial)) == (dns.rcode.NOERROR, "Valid")
    said = scene.command("device", "reset", old.name)
    assert said["device"]["retired"] == "reset"
    until("the name is still in DNS", lambda: scene.rcode(old.name) is dns.rcode.NXDOMAIN)
    until("the certificate is still valid", lambda: scene.status(serial) == "Revoked")
    until("the box has no other name", lambda: scene.box.serving is not None and scene.box.serving.name != old.name)
    now = scene.box.serving
    assert now is not None
    assert scene.rcode(now.name) is dns.rcode.NOERROR
    assert scene.box.process.poll() is None
    listed = {device["label"]: device["state"] for device in scene.command("device", "list")["devices"]}
    assert listed == {old.name.split(".")[0]: "retired", now.name.split(".")[0]: "active"}


def test_a_box_that_is_retired_stops_asking_and_is_let_start_over(scene: Scene) -> None:
    name = scene.serving.name
    scene.command("device", "retire", name)
    until("the box was not told", lambda: any("out of service" in why for why in scene.box.trouble))
    assert scene.box.process.poll() is None
    events = scene.command("device", "show", name)["events"]
    assert "device.retired" in {event["kind"] for event in events}
    assert len(scene.command("device", "list")["devices"]) == 1
    assert scene.command("device", "reset", name)["changed"]
