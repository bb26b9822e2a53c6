from __future__ import annotations

import json
from typing import Any

import pytest

Installation = Any  # the class lives in conftest.py, which cannot be imported


def warned(installed: Installation) -> dict[str, str]:
    done = installed.call("config", "check", "--json")
    assert done.returncode == 0
    return {found["check"]: found["what"] for found in json.loads(done.stdout)["findings"]}


@pytest.fixture
def careful(installed: Installation) -> Installation:
    """A configuration with nothing to warn of."""
    text = installed.config.read_text()
    for old, new in {
        f'"127.0.0.1:{installed.device_port}"': f'"0.0.0.0:{installed.device_port}"',
        f'"127.0.0.1:{installed.dns_port}"': '"0.0.0.0:53"',
        "terms_agreed = false": "terms_agreed = true",
        '["127.0.0.1"]': '["9.0.0.1"]',  # a public one; nothing is asked there
        'name_servers = ["ns1.boxes.example.com"]': 'name_servers = ["ns1.boxes.example.com", "ns2.example.net"]',
    }.items():
        assert old in text
        text = text.replace(old, new)
    told = '[alerts]\nemail_to = ["ops@example.com"]\nemail_from = "hq@example.com"\nsmtp_host = "mail.example.com"\n'
    installed.config.write_text(f"{text}\n{told}")
    return installed


def test_a_careful_configuration_has_no_warning(careful: Installation) -> None:
    done = careful.call("config", "check", "--strict")
    assert (done.returncode, done.stdout, done.stderr) == (0, "otscert.toml can be used.\n", "")


@pytest.mark.parametrize(
    ("old", "new", "check"),
    [
        ("token_file", "allow_loopback = true\ntoken_file", "model.box.allow_loopback"),
        ('policies = ["token"]', 'policies = ["token", "open"]', "model.box.policies"),
        ("terms_agreed = true", "terms_agreed = false", "issuer.ca.terms_agreed"),
        ("https://127.0.0.1:1/", "https://acme-staging.example.net/", "issuer.ca.directory_url"),
        # With the quotes: the device port, drawn by the system, may begin with 53.
        ('"0.0.0.0:53"', '"127.0.0.1:53"', "listen.dns"),
        ('"0.0.0.0:53"', '"0.0.0.0:5353"', "listen.dns.port"),
        ("9.0.0.1", "192.168.1.4", "zone.server_addresses"),
        ("9.0.0.1", "fd00::4", "zone.server_addresses"),
        (', "ns2.example.net"', "", "zone.name_servers"),
        ("https://127.0.0.1:", "https://hq.example.com:", "public_url"),
        ('email_to = ["ops@example.com"]\nemail_from = "hq@example.com"\nsmtp_host = "mail.example.com"', "", "alerts"),
        ('"mail.example.com"', '"mail.example.com"\nsmtp_security = "none"', "alerts.smtp_security"),
    ],
)
def test_what_is_seldom_meant_is_warned_of(careful: Installation, old: str, new: str, check: str) -> None:
    assert warned(careful) == {}
    careful.edit(old, new)
    assert list(warned(careful)) == [check]
    assert careful.call("config", "check", "--strict").returncode == 1


def test_a_device_api_on_loopback_is_warned_of(careful: Installation) -> None:
    careful.edit(f'"0.0.0.0:{careful.device_port}"', f'"localhost:{careful.device_port}", "[::1]:9"')
    assert list(warned(careful)) == ["listen.device"]


@pytest.mark.parametrize("name", ["token-box", "pki/root.key", "pki/store.key"])
def test_a_secret_that_others_can_read_is_warned_of(careful: Installation, name: str) -> None:
    path = careful.folder / "hq-data" / name
    path.chmod(0o640)
    assert warned(careful) == {"secrets": f"hq-data/{name} has mode 0640"}
    assert f"mend: chmod 600 hq-data/{name}" in careful.call("config", "check").stdout


def test_a_zone_below_a_public_suffix_is_fine(careful: Installation) -> None:
    text = careful.config.read_text()
    careful.config.write_text(text.replace("boxes.example.com", "boxes.github.io"))
    assert warned(careful) == {}


def test_a_secret_from_the_environment_wins_over_the_file(careful: Installation) -> None:
    careful.edit("hq-data/token-box", "nowhere")
    assert careful.run("config", "check").returncode == 1
    token = {"OTSCERT_MODEL_BOX_TOKEN": "a-token-of-enough-length"}
    assert careful.run("config", "check", env=token).returncode == 0


def test_a_data_folder_that_is_not_there_is_an_error_as_it_is_for_serve(installed: Installation) -> None:
    installed.edit('data_dir = "hq-data"', 'data_dir = "elsewhere"')
    for arguments in (("config", "check"), ("serve",)):
        done = installed.run(*arguments)
        assert (done.returncode, done.stdout, "elsewhere" in done.stderr) == (1, "", True), arguments
    said = json.loads(installed.call("config", "check", "--json").stdout)
    assert (said["ok"], said["error"].startswith("data_dir is elsewhere, which is not there")) == (False, True)
