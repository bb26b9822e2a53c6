from __future__ import annotations

import json
from typing import Any

import pytest

Installation = Any  # the class lives in conftest.py, which cannot be imported


def warned(installed: Installation) -> set[str]:
    done = installed.call("config", "check", "--json")
    assert done.returncode == 0, done.stdout
    checks = {found["check"] for found in json.loads(done.stdout)["findings"]}
    return {check for check in checks if check.startswith("model.box.policies.")}


@pytest.mark.parametrize(
    ("policies", "warnings"),
    [
        ("token", set()),
        ("token,approval", set()),
        ("token,open", set()),
        ("open", set()),
        ("open,approval", {"approval"}),
        ("approval,open", {"approval"}),
        ("open,token", {"order"}),
        ("factory,token", {"factory"}),
        ("factory,open,token", {"factory", "order"}),
    ],
)
def test_lists_of_policies_that_make_no_sense_are_warned_of(
    installed: Installation, policies: str, warnings: set[str]
) -> None:
    assert installed.call("model", "set", "box", f"policies={policies}").returncode == 0
    assert warned(installed) == {f"model.box.policies.{each}" for each in warnings}


def test_no_policy_at_all_is_warned_of(installed: Installation) -> None:
    installed.edit('policies = ["token"]', "policies = []")
    assert warned(installed) == {"model.box.policies.none"}


def test_a_manifest_key_is_what_the_policy_factory_needs(installed: Installation) -> None:
    assert installed.call("model", "set", "box", "policies=factory").returncode == 0
    assert warned(installed) == {"model.box.policies.factory"}
    (installed.folder / "hq-data" / "factory.key").write_text("one")
    assert warned(installed) == set()
