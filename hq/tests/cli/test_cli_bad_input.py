"""Bad input to HQ's commands: what is wrong and what to do, in one line, with a status; never a traceback."""

from __future__ import annotations

import asyncio
import socket
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

import pytest

from otscert.store.schema import SCHEMA_VERSION
from otscert.store.sqlite import SqliteStore
from tests.scripted_ca import Script, start_scripted_ca
from tests.scripted_ca.script import Fate

Installation = Any  # the class lives in conftest.py, which cannot be imported
COMMANDS = (["serve"], ["config", "check"], ["doctor"], ["device", "list"])


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """The one line of a refusal."""
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("otscert: ")]
    return line


@pytest.mark.parametrize("arguments", COMMANDS)
def test_a_typo_names_the_nearest_setting(installed: Installation, arguments: list[str]) -> None:
    installed.edit("public_url", "publik_url")
    line = refused(installed.run(*arguments))
    assert line == "otscert: publik_url is not a setting. Did you mean public_url?"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("terms_agreed = false", 'terms_agreed = "no"', "issuer.ca.terms_agreed must be true or false"),
        (
            'policies = ["token"]',
            'policies = ["tokn"]',
            "model.box.policies has 'tokn', but knows factory, token, approval, open",
        ),
        (
            'policies = ["token"]',
            "polices = []",
            "model.box.polices is not a setting. Did you mean model.box.policies?",
        ),
        ("[zone]", f"a = {'[' * 5000}\n[zone]", "otscert.toml is not TOML: it is nested too deeply"),
        ("[zone]", f"stale_days = {10**15}\n[zone]", "stale_days must not be larger than 2147483647"),
        (
            "[model.box]",
            '[model.box]\nwebhook_url = "https://shop.example.com:99999/"',
            "model.box.webhook_url cannot be used: Port out of range",
        ),
        ("[zone]", "[zone", "otscert.toml is not TOML: Expected ']' at the end of a table declaration (at line 5,"),
        ("https://127.0.0.1:1/", "http://127.0.0.1:1/", "issuer.ca.directory_url must start with https://"),
        (
            "[issuer.ca]",
            '[issuer.ca]\ncaa_identity = "ca.example; accounturi=x"',
            "issuer.ca.caa_identity is 'ca.example; accounturi=x', but must be a domain name",
        ),
        (
            "token_file",
            "token",
            "model.box.token is a secret: keep it in a file of mode 0600 and set model.box.token_file",
        ),
        (
            "hq-data/token-box",
            "hq-data/tokens",
            "model.box.token_file cannot be read: hq-data/tokens: No such file or directory",
        ),
    ],
)
def test_a_wrong_value_is_named_with_what_it_should_be(installed: Installation, old: str, new: str, words: str) -> None:
    installed.edit(old, new)
    assert words in refused(installed.run("config", "check"))


def test_config_check_says_the_error_in_json_too(installed: Installation) -> None:
    installed.edit("public_url", "publik_url")
    done = installed.run("config", "check", "--json")
    assert done.returncode == 1
    assert '"error": "publik_url is not a setting. Did you mean public_url?"' in done.stdout


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_a_dns_port_in_use_is_named_with_its_setting(installed: Installation, kind: socket.SocketKind) -> None:
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind(("127.0.0.1", installed.dns_port))
        if kind is socket.SOCK_STREAM:
            taken.listen()
        line = refused(installed.run("serve"))
    assert f"port {installed.dns_port}" in line or f":{installed.dns_port}" in line
    assert "Address already in use" in line
    assert "listen.dns" in line


def test_a_device_port_in_use_is_named_with_its_setting(installed: Installation) -> None:
    with socket.create_server(("127.0.0.1", installed.device_port)):
        line = refused(installed.run("serve"))
    assert f"the device API cannot listen at 127.0.0.1:{installed.device_port}" in line
    assert f"ss -lntup 'sport = :{installed.device_port}', or change listen.device" in line


def test_a_data_folder_that_is_read_only_is_named(
    installed: Installation, as_nobody_special: tuple[str, ...], world: Any
) -> None:
    data: Path = installed.folder / "hq-data"
    data.chmod(0o500)
    try:
        served = installed.run("serve", before=as_nobody_special)
        examined = installed.run("doctor", "--resolver", world.at, before=as_nobody_special)
    finally:
        data.chmod(0o700)
    assert "the data folder hq-data cannot be written (Permission denied)" in refused(served)
    assert "give it to the user that runs HQ" in served.stderr
    assert examined.returncode == 1
    assert "failed       the data folder hq-data cannot be written by this user" in examined.stdout


@pytest.fixture
def newer(installed: Installation) -> Installation:
    """A database that a later release wrote."""
    asyncio.run(SqliteStore.open(installed.database).close())
    with sqlite3.connect(installed.database) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    connection.close()
    return installed


@pytest.mark.parametrize(
    "arguments", [["serve"], ["device", "list"], ["device", "rearm", "a"], ["order", "list"], ["issuer", "test"]]
)
def test_a_database_of_a_newer_schema_is_left_alone(newer: Installation, arguments: list[str]) -> None:
    before = newer.database.read_bytes()
    line = refused(newer.run(*arguments))
    assert f"the database has schema {SCHEMA_VERSION + 1}, this release knows {SCHEMA_VERSION}" in line
    assert "start the release that wrote it, or restore a backup" in line
    assert newer.database.read_bytes() == before


def test_the_doctor_finds_the_newer_schema_and_goes_on(newer: Installation, world: Any) -> None:
    done = newer.run("doctor", "--resolver", world.at)
    assert done.returncode == 1
    assert f"failed       the database has schema {SCHEMA_VERSION + 1}" in done.stdout
    assert "the TLS certificate lasts until" in done.stdout


def test_a_ca_that_is_not_there_is_named_with_what_to_do(installed: Installation, world: Any) -> None:
    for arguments in (["issuer", "test"], ["doctor", "--resolver", world.at]):
        done = installed.run(*arguments)
        assert done.returncode == 1
        assert "failed       no ACME directory at https://127.0.0.1:1/directory" in done.stdout
        assert "mend: is the CA up, may this machine call it, is issuer.ca.directory_url right" in done.stdout
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("fate", "words"),
    [
        (Fate(on="directory", form="html", status=200, times=None), "HTTP 200 holds no JSON object ('text/html"),
        (Fate(on="directory", form="html", status=503, times=None), "HTTP 503 without a problem document"),
        (Fate(on="directory", form="redirect", times=None), "redirects"),
    ],
)
async def test_a_ca_that_answers_something_else_is_told_from_one_that_is_not_there(
    installed: Installation, world: Any, fate: Fate, words: str
) -> None:
    async with start_scripted_ca(Script(fates=(fate,))) as ca:
        trust = installed.folder / "ca.pem"
        trust.write_text(ca.trust_pem)
        installed.edit('"https://127.0.0.1:1/directory"', f'"{ca.directory_url}"\ntrust_file = "ca.pem"')
        for arguments in (["issuer", "test"], ["doctor", "--resolver", world.at]):
            done = await asyncio.to_thread(installed.run, *arguments)
            assert done.returncode == 1
            assert f"failed       no ACME directory at {ca.directory_url}" in done.stdout
            assert words in done.stdout


async def test_a_ca_whose_certificate_is_not_trusted_is_one_sentence(installed: Installation) -> None:
    async with start_scripted_ca(Script()) as ca:
        installed.edit('"https://127.0.0.1:1/directory"', f'"{ca.directory_url}"')
        done = await asyncio.to_thread(installed.run, "issuer", "test")
    assert done.returncode == 1
    first, _, mend = done.stdout.splitlines()
    assert f"failed       the certificate of the CA at {ca.directory_url} is not trusted: " in first
    assert "Connector" not in first
    assert "mend: set issuer.ca.trust_file for a private CA" in mend


def test_hq_starts_and_answers_boxes_while_its_ca_is_not_there(installed: Installation) -> None:
    with installed.started("serve", "--json") as hq:
        assert '"ready"' in hq.stdout.readline()
        assert hq.poll() is None


def test_a_zone_that_is_not_delegated_is_named_with_the_records_to_add(installed: Installation, world: Any) -> None:
    world.delegated = []
    done = installed.run("doctor", "--resolver", world.at)
    assert done.returncode == 1
    assert "failed       example.com does not delegate boxes.example.com" in done.stdout
    assert (
        "mend: in the zone example.com, add: boxes.example.com. NS ns1.boxes.example.com."
        "  ns1.boxes.example.com. A 127.0.0.1"
    ) in done.stdout
