"""Which roles a process may have, and who is seen beside it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from otscert.roles.role import ALL, Role, read_roles, written

Installation = Any  # the class lives in conftest.py, which cannot be imported


@pytest.mark.parametrize(
    ("text", "roles"),
    [
        ("api,worker,dns", ALL),
        ("dns, api", {Role.API, Role.DNS}),
        ("worker,worker", {Role.WORKER}),
    ],
)
def test_roles_are_read(text: str, roles: frozenset[Role]) -> None:
    assert read_roles(text) == roles


@pytest.mark.parametrize("text", ["", ",", "web", "api,web", "API"])
def test_what_is_no_role_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a role: the roles are api, worker, dns"):
        read_roles(text)


def test_roles_are_written_in_one_order() -> None:
    assert written({Role.DNS, Role.API}) == "api dns"


def test_sqlite_wants_all_roles_in_one_process(installed: Installation) -> None:
    done = installed.run("serve", "--role", "api,dns")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(
        "otscert: --role api,dns: HQ's database is SQLite, which one process has for itself"
    )
    assert "unknown" in installed.run("serve", "--role", "unknown").stderr


def test_a_worker_without_dns_wants_to_know_whom_to_ask(installed: Installation) -> None:
    done = installed.run("serve", "--role", "worker", env={"OTSCERT_DATABASE_URL": "postgresql://nobody@/nothing"})
    assert done.returncode == 1
    assert "name the zone's name servers in zone.check_servers" in done.stderr
    checked = installed.run("config", "check", env={"OTSCERT_DATABASE_URL": "postgresql://nobody@/nothing"})
    assert "zone.check_servers is empty" in checked.stdout + checked.stderr


def test_who_runs_is_seen(installed: Installation) -> None:
    with installed.started("serve", "--json") as hq:
        hq.stdout.readline()
        (seen,) = json.loads(installed.call("processes", "--json").stdout)["processes"]
        assert (seen["pid"], seen["roles"], seen["lives"]) == (hq.pid, ["api", "worker", "dns"], True)
        assert "lives" in installed.call("processes").stdout
        hq.terminate()
        assert hq.wait(10) == 0
    assert "No HQ process" in installed.call("processes").stdout
