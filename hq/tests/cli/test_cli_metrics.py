"""The setting listen.metrics: what is refused, what is warned of, what is said when the port is taken."""

from __future__ import annotations

import json
import socket
from typing import Any

import pytest

Installation = Any  # the class lives in conftest.py, which cannot be imported


def listen_at(installed: Installation, *addresses: str) -> None:
    installed.edit("[listen]", f"[listen]\nmetrics = {json.dumps(addresses)}")


def test_the_listener_of_boxes_is_refused(installed: Installation) -> None:
    listen_at(installed, f"127.0.0.1:{installed.device_port}")
    done = installed.call("config", "check")
    assert done.returncode == 1
    assert f"listen.metrics has 127.0.0.1:{installed.device_port}, which listen.device has too" in done.stderr


@pytest.mark.parametrize("address", ["0.0.0.0:9464", "[::]:9464", "9.0.0.1:9464"])
def test_an_address_that_everybody_reaches_is_warned_of(installed: Installation, address: str) -> None:
    listen_at(installed, "127.0.0.1:9464", "10.1.2.3:9464", address)
    findings = json.loads(installed.call("config", "check", "--json").stdout)["findings"]
    found = [each["what"] for each in findings if each["check"] == "listen.metrics"]
    assert len(found) == 1
    assert found[0].startswith(f"listen.metrics has {address.replace('[', '').replace(']', '')}, ")


def test_a_port_that_is_taken_is_named_with_its_setting(installed: Installation) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        listen_at(installed, f"127.0.0.1:{port}")
        done = installed.run("serve")
    assert done.returncode == 1
    assert f"the metrics listener cannot listen at 127.0.0.1:{port}" in done.stderr
    assert "or change listen.metrics" in done.stderr
