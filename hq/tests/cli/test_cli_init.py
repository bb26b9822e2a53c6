from __future__ import annotations

import stat
import tomllib
from pathlib import Path
from typing import Any

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
    assert (empty.folder / "hq-data" / "pki" / "root.pem").read_bytes() == root
    assert not empty.config.exists()


def test_a_bad_zone_is_refused_and_nothing_is_written(empty: Installation) -> None:
    done = empty.init("--zone", "boxes")
    assert done.returncode == 1
    assert "'boxes' is not a DNS zone: write a name such as boxes.example.com" in done.stderr
    assert list(empty.folder.iterdir()) == []


def test_a_public_url_in_the_zone_is_refused_and_no_configuration_is_left(empty: Installation) -> None:
    done = empty.init("--public-url", "https://hq.boxes.example.com")
    assert done.returncode == 1
    assert "the zone is for boxes alone" in done.stderr
    assert not empty.config.exists()


def test_a_missing_option_is_named_with_status_2(empty: Installation) -> None:
    done = empty.run("init", "--zone", "boxes.example.com")
    assert done.returncode == 2
    assert "Missing option '--public-url'" in done.stderr
