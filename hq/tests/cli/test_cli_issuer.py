"""`otscert issuer test` against Pebble, which is not ours."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from otscert.ops.pebble import Pebble, start_pebble
from tests.harness.parts import require_part

Installation = Any  # the class lives in conftest.py, which cannot be imported


@pytest.fixture
def start(tmp_path: Path, installed: Installation) -> Iterator[Any]:
    """Start Pebble and make it the installation's CA."""
    with ExitStack() as running:

        def begin(**settings: Any) -> Pebble:
            pebble = running.enter_context(
                start_pebble(
                    binary=require_part("pebble").path, folder=tmp_path / "pebble", dns_server=None, **settings
                )
            )
            trust = f'"{pebble.directory_url}"\ntrust_file = "{pebble.api_trust}"'
            installed.edit('"https://127.0.0.1:1/directory"', trust)
            return pebble

        yield begin


def outcomes(installed: Installation, *arguments: str) -> tuple[int, dict[str, str]]:
    done = installed.run("issuer", "test", *arguments, "--json")
    document = json.loads(done.stdout)
    assert document["ok"] is (done.returncode == 0)
    return done.returncode, {
        found["check"].removeprefix("issuer.ca."): found["outcome"] for found in document["findings"]
    }


def test_everything_up_to_the_account_is_asked_and_no_account_is_made(installed: Installation, start: Any) -> None:
    start()
    installed.edit("terms_agreed = false", "terms_agreed = true")
    status, found = outcomes(installed, "ca")
    assert status == 0
    assert found.pop("account") == "cannot tell"
    assert found == dict.fromkeys(["directory", "clock.ca", "terms", "profile", "caa", "eab", "nonce"], "ok")
    assert not installed.database.exists()
    text = installed.run("issuer", "test").stdout
    assert "profile tlsserver; it offers default, shortlived, tlsserver" in text
    assert "the zone's CAA record will name pebble.letsencrypt.org" in text
    assert "HQ has no account at this CA yet" in text


def test_an_account_is_registered_once_when_asked_and_found_after(installed: Installation, start: Any) -> None:
    start()
    installed.edit("terms_agreed = false", "terms_agreed = true")
    assert outcomes(installed, "--register")[1]["account"] == "ok"
    first = installed.run("issuer", "test").stdout
    assert "the account is https://localhost" in first
    assert installed.run("issuer", "test", "--register").stdout.splitlines()[-1] == first.splitlines()[-1]
    assert b"PRIVATE KEY" not in installed.database.read_bytes()


def test_terms_that_are_not_agreed_to_are_a_failure_with_their_url(installed: Installation, start: Any) -> None:
    start()
    done = installed.run("issuer", "test", "--register")
    assert done.returncode == 1
    assert "failed       the CA's terms of service are not agreed to" in done.stdout
    assert "mend: read data:text/plain,Do%20what%20thou%20wilt, then set issuer.ca.terms_agreed = true" in done.stdout
    assert "failed       no account: the CA's terms of service are not agreed to" in done.stdout


def test_a_ca_that_wants_an_external_account_says_so(installed: Installation, start: Any) -> None:
    start(eab={"kid-1": base64.urlsafe_b64encode(bytes(32)).rstrip(b"=").decode()})
    status, found = outcomes(installed)
    assert (status, found["eab"]) == (1, "failed")


def test_a_profile_that_is_not_offered_is_a_warning(installed: Installation, start: Any) -> None:
    start()
    installed.edit("terms_agreed = false", 'terms_agreed = true\nprofile = "antique"')
    status, found = outcomes(installed)
    assert (status, found["profile"]) == (0, "warning")


def test_an_issuer_that_is_not_configured_is_named(installed: Installation) -> None:
    done = installed.run("issuer", "test", "letsencrypt")
    assert done.returncode == 1
    assert done.stderr == "otscert: there is no issuer 'letsencrypt' in the configuration, but ca\n"
