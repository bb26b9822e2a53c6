from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from otscert.factory.checks import Check, Verdict
from otscert.factory.errors import FactoryError
from otscert.factory.image import Image
from otscert.factory.linting import lint
from otscert_agent.disk import Disk
from otscert_agent.state import BoxState, Store
from otscert_agent.wire.factory import Factory

SECRET = Factory(bytes(range(32))).text()
STATE = "var/lib/otscert-agent"


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """An image as it should be: the agent's settings, an empty state folder, an empty machine id."""
    root = tmp_path / "rootfs"
    put(root, "etc/otscert/agent.toml", 'hq_url = "https://hq.example.com"\nmodel = "box"\n')
    put(root, "etc/machine-id", "")
    put(root, "etc/os-release", "ID=box\n")
    put(root, "usr/share/app/state.json", '{"version": 3, "theme": "dark"}')
    put(root, "usr/share/app/key.pem", "-----BEGIN PRIVATE KEY-----\nof something else\n-----END PRIVATE KEY-----\n")
    put(root, "usr/share/words", f"{'a' * 43}\n")
    (root / STATE).mkdir(parents=True)
    return root


def put(root: Path, path: str, text: str, mode: int = 0o600) -> Path:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    file.chmod(mode)
    return file


def look(root: Path) -> list[Check]:
    return lint(Image.at(root))


def test_a_clean_image_has_nothing_to_be_said_about(image: Path) -> None:
    assert look(image) == []


def test_an_image_on_hold_is_clean(image: Path) -> None:
    put(image, f"{STATE}/hold", "")
    assert look(image) == []
    put(image, f"{STATE}/deeper/hold", "")
    assert [check.name for check in look(image)] == ["image.state"]


def test_an_agents_own_state_is_found_where_it_belongs_and_anywhere_else(image: Path, tmp_path: Path) -> None:
    disk = Disk(tmp_path / "box")
    disk.prepare()
    disk.lock()
    Store(disk).replace(BoxState(pool=b"p" * 32))
    disk.install_pair({"chain.pem": b"chain", "key.pem": b"-----BEGIN PRIVATE KEY-----\n", "facts.json": b"{}"})
    (image / STATE).rmdir()
    disk.root.rename(image / STATE)
    found = [check.what.split(":")[0] for check in look(image)]
    assert found == [
        f"/{STATE}/lock",
        f"/{STATE}/state.json",
        f"/{STATE}/pairs/000001/chain.pem",
        f"/{STATE}/pairs/000001/facts.json",
        f"/{STATE}/pairs/000001/key.pem",
        f"/{STATE}/current",
    ]
    (image / STATE).rename(image / "opt")
    found = [check.what.split(":")[0] for check in look(image)]
    assert found == ["/opt/state.json", "/opt/pairs/000001/key.pem"]


def test_another_state_folder_is_read_from_the_images_own_settings(image: Path) -> None:
    put(image, "etc/otscert/agent.toml", 'state_dir = "/data/agent"\n')
    put(image, "persist/agent/status.json", "{}")
    (image / "data").symlink_to("/persist")  # absolute: inside of the image, not of this machine
    checks = look(image)
    assert [check.what for check in checks] == ["/persist/agent/status.json: it lies in the agent's state folder"]
    assert checks[0].mend.startswith("otscert-agent seal")


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("factory/factory.secret", SECRET),
        ("factory/factory.secret", SECRET + "\n"),
        ("boot/uboot.env", f"bootdelay=2\notscert_factory={SECRET}\notscert_serial=SN-1\n"),
        ("etc/fw_env.txt", f"otscert_factory={SECRET}\n"),
        ("mnt/factory/otscert", f"{SECRET}\n"),
    ],
)
def test_a_factory_secret_is_refused_wherever_it_lies_and_not_repeated(image: Path, path: str, text: str) -> None:
    put(image, path, text)
    checks = look(image)
    assert [(check.name, check.verdict) for check in checks] == [("image.secret", Verdict.BAD)]
    assert f"/{path}" in checks[0].what
    assert SECRET not in str(checks)


def test_what_the_agent_would_take_for_its_secret_is_one(image: Path) -> None:
    """It may be 32 raw bytes, which look like nothing."""
    put(image, "etc/otscert/agent.toml", 'factory_file = "/factory/otscert"\n')
    assert look(image) == []  # its partition is mounted there on the box
    put(image, "factory/otscert", "thirty-two bytes, of one unit...")
    assert [check.what for check in look(image)] == ["/factory/otscert holds a factory secret"]


@pytest.mark.parametrize(
    "path",
    ["var/lib/systemd/random-seed", "etc/urandom.seed", "boot/loader/random-seed", "var/lib/seedrng/seed.credit"],
)
def test_a_saved_seed_is_refused(image: Path, path: str) -> None:
    (image / path).parent.mkdir(parents=True, exist_ok=True)
    (image / path).write_bytes(bytes(512))
    checks = look(image)
    assert [(check.name, check.verdict) for check in checks] == [("image.seed", Verdict.BAD)]
    assert f"/{path}" in checks[0].what


def test_what_makes_boxes_alike_without_harm_to_certificates_is_warned_of(image: Path) -> None:
    put(image, "etc/ssh/ssh_host_ed25519_key", "key")
    put(image, "etc/ssh/ssh_host_ed25519_key.pub", "key")
    put(image, "etc/dropbear/dropbear_rsa_host_key", "key")
    put(image, "etc/machine-id", "0123456789abcdef0123456789abcdef\n")
    assert [(check.name, check.verdict) for check in look(image)] == [
        ("image.ssh", Verdict.ODD),
        ("image.ssh", Verdict.ODD),
        ("image.machine-id", Verdict.ODD),
    ]
    put(image, "etc/machine-id", "uninitialized\n")
    assert len(look(image)) == 2


@pytest.mark.parametrize(
    ("mode", "verdicts"), [(0o600, []), (0o400, []), (0o640, [Verdict.BAD]), (0o644, [Verdict.BAD])]
)
def test_a_token_is_for_the_agent_alone(image: Path, mode: int, verdicts: list[Verdict]) -> None:
    put(image, "etc/otscert/agent.toml", 'token_file = "/etc/otscert/token"\n')
    put(image, "usr/lib/token", "a-claim-token-of-the-model", mode)
    (image / "etc/otscert/token").symlink_to("../../usr/lib/token")
    assert [check.verdict for check in look(image)] == verdicts


def test_a_token_that_is_not_there_is_warned_of(image: Path) -> None:
    put(image, "etc/otscert/agent.toml", 'token_file = "/etc/otscert/token"\n')
    assert [(check.name, check.verdict) for check in look(image)] == [("image.token", Verdict.ODD)]


@pytest.mark.parametrize(
    "text", ["hq_url = ", "\xff", "state_dir = 7\n", 'state_dir = "/../../../.."\n', "token_file = [1]\n"]
)
def test_settings_that_make_no_sense_end_in_a_check_or_in_nothing(image: Path, text: str) -> None:
    (image / "etc/otscert/agent.toml").write_bytes(text.encode("latin-1"))
    assert {check.name for check in look(image)} <= {"image.agent", "image.state"}


def test_links_never_lead_out_of_the_image(image: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    put(outside, "state.json", json.dumps({"version": 1, "pool": "", "identity": None, "hello": None}))
    (image / STATE).rmdir()
    (image / STATE).symlink_to(outside)
    (image / "etc/loop").symlink_to("loop")
    (image / "var/lib/systemd").mkdir()
    (image / "var/lib/systemd/random-seed").symlink_to("/etc/loop/x")
    assert look(image) == []
    real: Callable[[str], Path | None] = Image.at(image).real
    assert real("/etc/loop") is None
    assert real("/../../etc/../etc/os-release") == image / "etc/os-release"


def test_pipes_and_sockets_are_not_opened(image: Path) -> None:
    os.mkfifo(image / "etc/factory.secret")
    os.mkfifo(image / STATE / "state.json")
    assert look(image) == []


def test_what_is_no_image_is_said(tmp_path: Path) -> None:
    with pytest.raises(FactoryError, match="is not a folder"):
        Image.at(tmp_path / "nothing")
    with pytest.raises(FactoryError, match="none of etc, usr and bin"):
        Image.at(tmp_path)
