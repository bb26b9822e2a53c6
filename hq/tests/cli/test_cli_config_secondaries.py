"""Computed names are not transferred: a plain secondary of a model that has them is refused."""

from __future__ import annotations

import base64
from typing import Any

import pytest

Installation = Any  # the class lives in conftest.py, which cannot be imported
SECRET = base64.b64encode(bytes(32)).decode()


def with_secondary(installed: Installation, *, computes: str, computed: str) -> Any:
    key = installed.config.parent / "tsig.key"
    key.write_text(SECRET)
    key.chmod(0o600)
    text = installed.config.read_text()
    assert "[model.box]\n" in text
    text = text.replace("[model.box]\n", f"[model.box]\ncomputed_names = {computed}\n")
    tables = f'[tsig.otscert]\nsecret_file = "{key}"\n[secondary.fra]\nservers = ["192.0.2.53:53"]\nkey = "otscert"\n'
    installed.config.write_text(f"{text}\n{tables}computes_names = {computes}\n")
    return installed.call("config", "check")


def test_a_plain_secondary_is_refused_with_both_ways_out(installed: Installation) -> None:
    done = with_secondary(installed, computes="false", computed="true")
    assert done.returncode != 0
    assert "model.box.computed_names = false" in done.stderr
    assert "secondary.fra.computes_names = true" in done.stderr


@pytest.mark.parametrize(("computes", "computed"), [("true", "true"), ("false", "false")])
def test_either_way_out_is_taken(installed: Installation, computes: str, computed: str) -> None:
    assert with_secondary(installed, computes=computes, computed=computed).returncode == 0


@pytest.mark.parametrize(
    ("named", "warned"), [("", True), ('"192.0.2.54:53"', True), ('"192.0.2.54:53", "192.0.2.53:53"', False)]
)
def test_a_secondary_that_no_order_waits_for_is_a_warning(installed: Installation, named: str, *, warned: bool) -> None:
    text = installed.config.read_text()
    assert "[zone]\n" in text
    installed.config.write_text(text.replace("[zone]\n", f"[zone]\ncheck_servers = [{named}]\n"))
    done = with_secondary(installed, computes="false", computed="false")
    assert done.returncode == 0
    shown = done.stdout + done.stderr
    assert ("zone.check_servers does not name the secondary 192.0.2.53:53" in shown) is warned
