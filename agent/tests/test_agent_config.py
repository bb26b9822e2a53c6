from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from otscert_agent import config
from otscert_agent.errors import ConfigError

LEAST = 'hq_url = "https://hq.example"\nhq_roots = "/etc/hq.pem"\nmodel = "m1"\n'


def load(tmp_path: Path, text: str = LEAST, **environment: str) -> config.Settings:
    path = tmp_path / "agent.toml"
    path.write_text(text)
    return config.load(path, environment)


def test_three_settings_are_enough(tmp_path: Path) -> None:
    settings = load(tmp_path)
    assert settings.base_url == "https://hq.example"
    assert settings.addresses == ["auto"]
    assert settings.listen == ""


def test_every_setting_has_a_sentence_and_arrives() -> None:
    names = {setting.name for setting in config.SETTINGS}
    assert names - {"token_file"} == {member.name for member in dataclasses.fields(config.Settings)}
    assert all(setting.sentence.endswith(".") for setting in config.SETTINGS)


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        OTSCERT_AGENT_MODEL="m2",
        OTSCERT_AGENT_BUILD_EPOCH="17",
        OTSCERT_AGENT_RELOAD_COMMAND="systemctl reload nginx",
        PATH="/bin",
    )
    assert (settings.model, settings.build_epoch) == ("m2", 17)
    assert settings.reload_command == ["systemctl", "reload", "nginx"]


def test_the_environment_alone_is_enough() -> None:
    environment = {"OTSCERT_AGENT_HQ_URL": "https://h", "OTSCERT_AGENT_HQ_ROOTS": "/r", "OTSCERT_AGENT_MODEL": "m"}
    assert config.load(None, environment).model == "m"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (LEAST + 'listn = "127.0.0.1:0"', "unknown setting 'listn'; did you mean 'listen'"),
        (LEAST + "zzz = 1", "unknown setting 'zzz'"),
        (LEAST.replace("model", "#"), "model is not set in .*; write it there"),
        (LEAST.replace("https://", "http://"), "must begin with https://"),
        (LEAST.replace('"m1"', '""'), "model is empty"),
        (LEAST.replace('"m1"', "5"), "model must be a string"),
        (LEAST + 'build_epoch = "soon"', "build_epoch must be a whole number"),
        (LEAST + "build_epoch = true", "build_epoch must be a whole number"),
        (LEAST + "build_epoch = -1", "must not be negative"),
        (LEAST + 'listen = "127.0.0.1"', "listen = '127.0.0.1' is not host:port"),
        (LEAST + 'served_at = "box:99999"', "served_at = 'box:99999' is not host:port"),
        (LEAST + 'addresses = ["auto", "10.0.0.1"]', "addresses: 'auto'"),
        (LEAST + 'addresses = ["10.0.0.300"]', "addresses: '10.0.0.300'"),
        (LEAST + 'reload_command = "a shell line"', "must be a list of strings"),
        (LEAST + 'token = "x"', "write token_file"),
        (LEAST + 'token_file = "/nowhere/token"', "token_file /nowhere/token cannot be read"),
        (LEAST + "= =", "is not TOML"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        load(tmp_path, text)


@pytest.mark.parametrize(
    ("variable", "value", "why"),
    [
        ("OTSCERT_AGENT_MODLE", "m", "OTSCERT_AGENT_MODLE: unknown setting; did you mean 'model'"),
        ("OTSCERT_AGENT_BUILD_EPOCH", "soon", "build_epoch = 'soon' is not a whole number"),
    ],
)
def test_the_environment_is_checked_too(tmp_path: Path, variable: str, value: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        load(tmp_path, **{variable: value})


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        config.load(tmp_path / "none.toml", {})


def test_a_token_file_must_be_private_and_its_content_is_never_shown(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("fleet-secret\n")
    path.chmod(0o644)
    text = f'{LEAST}token_file = "{path}"'
    with pytest.raises(ConfigError, match="can be read by others"):
        load(tmp_path, text)
    path.chmod(0o600)
    settings = load(tmp_path, text)
    assert settings.token == "fleet-secret"
    assert "fleet-secret" not in repr(settings)


@pytest.mark.parametrize(("text", "found"), [("[::1]:443", ("::1", 443)), ("box.lan:8443", ("box.lan", 8443))])
def test_addresses_are_split(text: str, found: tuple[str, int]) -> None:
    assert config.split_address(text, "listen") == found
