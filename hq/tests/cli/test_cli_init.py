from __future__ import annotations

import stat
import tomllib
from pathlib import Path
from typing import Any

import pytest

Installation = Any  # the class lives in conftest.py, which cannot be imported


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_init_writes_a_configuration_that_can_be_used_and_says_what_to_delegate(empty: Installation) -> None:
    done = empty.init("--model", "router")
    assert done.returncode == 0
    document = tomllib.loads(empty.config.read_text())
    assert document["zone"]["origin"] == "boxes.example.com"
    assert document["model"] == {"router": {"policies": ["token"], "token_file": "hq-data/token-router"}}
    assert "In the zone example.com, delegate boxes to HQ" in done.stdout
    assert "boxes.example.com.      NS   ns1.boxes.example.com." in done.stdout
    assert "ns1.boxes.example.com.  A    127.0.0.1" in done.stdout
    assert "hq-data/pki/root.pem" in done.stdout
    assert empty.run("config", "check").returncode == 0


def test_what_init_writes_is_closed_to_others(empty: Installation) -> None:
    empty.init()
    data = empty.folder / "hq-data"
    assert mode(data) == mode(data / "pki") == 0o700
    secrets = [data / "token-box", *(data / "pki").iterdir()]
    assert {mode(path) for path in secrets} == {0o600}
    assert {path.name for path in secrets} == {
        "token-box", "root.pem", "root.key", "tls.pem", "answer.pem", "store.key"
    }  # fmt: skip


def test_the_token_is_not_printed(empty: Installation) -> None:
    done = empty.init()
    token = (empty.folder / "hq-data" / "token-box").read_text().strip()
    assert len(token) >= 32
    assert token not in done.stdout + done.stderr + empty.config.read_text()


def test_init_does_not_overwrite_a_configuration(empty: Installation) -> None:
    empty.init()
    before = {path: path.read_bytes() for path in empty.folder.rglob("*") if path.is_file()}
    again = empty.init()
    assert again.returncode == 1
    assert again.stderr == "otscert: otscert.toml exists; move it away first, or edit it\n"
    assert {path: path.read_bytes() for path in empty.folder.rglob("*") if path.is_file()} == before


def test_init_does_not_replace_a_root_that_firmware_may_have_pinned(empty: Installation) -> None:
    empty.init()
    root = (empty.folder / "hq-data" / "pki" / "root.pem").read_bytes()
    empty.config.unlink()
    again = empty.init()
    assert again.returncode == 1
    assert "root.pem exists: HQ's root is pinned in firmware" in again.stderr
    assert "keep it and write a configuration by hand (docs/settings.md)" in again.stderr
    assert "move hq-data/pki away" in again.stderr
    assert (empty.folder / "hq-data" / "pki" / "root.pem").read_bytes() == root
    assert not empty.config.exists()


def test_a_bad_zone_is_refused_and_nothing_is_written(empty: Installation) -> None:
    done = empty.init("--zone", "boxes")
    assert done.returncode == 1
    assert "'boxes' is not a DNS zone: write a name such as boxes.example.com" in done.stderr
    assert list(empty.folder.iterdir()) == []


@pytest.mark.parametrize(
    ("option", "value", "status", "words"),
    [
        ("--public-url", "https://hq.boxes.example.com", 1, "the zone is for boxes alone"),
        ("--public-url", "http://hq.example.com", 1, "must look like https://hq.example.com:8443"),
        ("--issuer", "letsencript", 2, "'letsencript' is not known; write letsencrypt-staging, letsencrypt, or"),
        ("--address", "hq.example.com", 2, "'hq.example.com' is not an IP address"),
        ("--model", "../box", 2, "'../box' is not a name"),
        ("--contact", 'a"b', 1, "is not TOML"),
    ],
)
def test_what_is_refused_leaves_nothing_behind(
    empty: Installation, option: str, value: str, status: int, words: str
) -> None:
    done = empty.init(option, value)
    assert done.returncode == status
    assert words in done.stderr
    assert list(empty.folder.iterdir()) == []


def test_all_missing_options_are_named_with_status_2(empty: Installation) -> None:
    done = empty.run("init")
    assert done.returncode == 2
    assert "'--zone' / '--public-url' / '--address': needed, but not given" in done.stderr
    assert "'--zone'" not in empty.run("init", "--zone", "boxes.example.com").stderr


@pytest.mark.parametrize("place", ["closed/otscert.toml", "closed/below/otscert.toml"])
def test_a_place_that_cannot_be_written_is_one_sentence(
    empty: Installation, as_nobody_special: tuple[str, ...], place: str
) -> None:
    closed = empty.folder / "closed"
    closed.mkdir(mode=0o500)
    given = ("--zone", "boxes.example.com", "--public-url", "https://hq.example.com", "--address", "192.0.2.1")
    try:
        done = empty.run("init", *given, "--config", place, before=as_nobody_special)
    finally:
        closed.chmod(0o700)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "closed cannot be written (Permission denied): run this as the user that owns it" in line
    assert list(closed.iterdir()) == []


def test_terms_and_production_are_among_the_next_steps(empty: Installation) -> None:
    done = empty.init("--issuer", "letsencrypt-staging")
    assert "3. Read the CA's terms" in done.stdout
    assert "set terms_agreed = true in\n   [issuer.letsencrypt-staging] of otscert.toml" in done.stdout
    assert "rename [issuer.letsencrypt-staging]" in done.stdout
    assert 'directory_url = "https://acme-v02.api.letsencrypt.org/directory"' in done.stdout


def test_what_is_agreed_and_trusted_needs_no_further_step(empty: Installation) -> None:
    done = empty.init("--issuer", "letsencrypt", "--agree-terms", "--config", "hq.toml")
    assert "terms" not in done.stdout
    assert "staging" not in done.stdout
    assert "3. Run: otscert doctor --config hq.toml, then otscert serve --config hq.toml." in done.stdout


@pytest.mark.parametrize(("url", "port"), [("https://127.0.0.1:9443", 9443), ("https://hq.example.com", 443)])
def test_hq_listens_at_the_port_of_its_public_url(empty: Installation, url: str, port: int) -> None:
    assert empty.init("--public-url", url).returncode == 0
    assert f'device = ["0.0.0.0:{port}"]' in empty.config.read_text()
