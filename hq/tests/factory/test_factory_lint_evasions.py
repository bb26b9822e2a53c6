"""State and secrets that lie where nobody looks for them, under other names and in other forms."""

from __future__ import annotations

import binascii
import struct
from pathlib import Path

import pytest

from otscert.factory.checks import Verdict
from otscert.factory.image import Image
from otscert.factory.linting import lint
from otscert_agent.state import BoxState, KeyState, Pending, Sent, encode
from otscert_agent.wire.factory import Factory

SECRET = bytes(range(32))
TEXT = Factory(SECRET).text().encode()
MOUNTED = Path("/dev") / "shm"
KEY = b"-----BEGIN PRIVATE KEY-----\nMIGH\n-----END PRIVATE KEY-----\n"
# In the middle of a renewal a state is at its largest.
STATE = encode(
    BoxState(
        pool=bytes(32),
        identity=KeyState(bytes(32), 5),
        pending=Pending(txid="t", names=["a.example"], scalar=bytes(32), csr=bytes(900)),
        sent=Sent(bytes(2400)),
    )
)


def environment() -> bytes:
    """What mkenvimage makes: a checksum, strings that end with a zero byte, padding."""
    strings = b"bootcmd=run x\x00otscert_factory=%s\x00otscert_serial=S\x00\x00" % TEXT
    padded = strings.ljust(0x20000 - 4, b"\xff")
    return struct.pack("<I", binascii.crc32(padded)) + padded


@pytest.mark.parametrize(
    ("path", "data", "found"),
    [
        ("opt/backup/state.json.bak", STATE, "image.state"),
        ("overlay/upper/var/lib/otscert-agent/state.json.tmp", STATE, "image.state"),
        ("home/me/pairs/000001/key.pem", KEY, "image.state"),
        ("factory/factory.secret", SECRET, "image.secret"),
        ("boot/uboot.env", environment(), "image.secret"),
        ("boot/env.img", environment(), "image.secret"),
        ("root/script", b"bootdelay=1\notscert_factory=%s\n" % TEXT, "image.secret"),
    ],
)
def test_what_lies_elsewhere_is_found(tmp_path: Path, path: str, data: bytes, found: str) -> None:
    (tmp_path / "etc").mkdir()
    file = tmp_path / path
    file.parent.mkdir(parents=True)
    file.write_bytes(data)
    assert [check.name for check in lint(Image.at(tmp_path))] == [found]


@pytest.mark.skipif(not MOUNTED.is_mount(), reason="there is no other file system below /dev")
def test_another_file_system_is_not_passed_over_in_silence() -> None:
    image = Image(root=MOUNTED.parent)
    assert MOUNTED in image.mounts()
    checks = [check for check in lint(image) if check.name == "image.mount"]
    assert "/shm is another file system, and was not looked at" in [check.what for check in checks]
    assert {check.verdict for check in checks} == {Verdict.UNKNOWN}
