"""What is in the images that the laboratory boots. Reads this machine's programs; writes nothing.

An image is an initramfs. What differs from boot to boot (HQ's answer, a unit's factory secret) is a second archive
behind it whose size never changes, so that the guest's clock cannot tell the twins apart by it.
"""

from __future__ import annotations

import base64
import json
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lab import cpio, guest_python
from lab.errors import LabError
from lab.machine import part

GUEST = Path(__file__).resolve().parent / "guest"
ANSWER_BYTES = 16 * 1024
ROOTS = "etc/otscert/hq.pem"
FACTORY = "etc/otscert/factory"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What HQ answered over HTTP, as it came."""

    status: int
    content_type: str
    body: bytes


def plain_image() -> bytes:
    """Return the image with openssl alone."""
    openssl = part("openssl").path
    folder = subprocess.run([openssl, "version", "-d"], capture_output=True, text=True, check=True).stdout
    if (found := re.search(r'"(/.+)"', folder)) is None:
        raise LabError(f"`openssl version -d` names no folder: {folder!r}")
    configuration = f"{found[1]}/openssl.cnf"
    return cpio.archive(
        [
            *_base("plain.sh"),
            cpio.program("usr/bin/openssl", openssl.read_bytes()),
            cpio.file(configuration.lstrip("/"), Path(configuration).read_bytes()),
            *guest_python.libraries([openssl]),
        ]
    )


def agent_image(*, hq_url: str, hq_roots: bytes, model: str, settings: Mapping[str, str | int] | None = None) -> bytes:
    """Return the image with the agent, made for one HQ and one model, the same for every unit."""
    lines: dict[str, str | int] = {
        "hq_url": hq_url,
        "hq_roots": f"/{ROOTS}",
        "model": model,
        "firmware": "1.0",
        "state_dir": "/var/lib/otscert-agent",
        **(settings or {}),
    }
    toml = "".join(f"{name} = {json.dumps(value)}\n" for name, value in lines.items())
    return cpio.archive(
        [
            *_base("agent.sh"),
            cpio.file("lab/box.py", (GUEST / "box.py").read_bytes()),
            cpio.file("etc/otscert/agent.toml", toml.encode()),
            cpio.file(ROOTS, hq_roots),
            cpio.folder("var/lib"),
            *guest_python.entries(GUEST / "box.py"),
        ]
    )


def extra(*, answer: Answer | None = None, factory: bytes | None = None) -> bytes:
    """Return the second archive: HQ's answer (or the empty place for it), and a unit's factory secret if it has one."""
    text = b""
    if answer is not None:
        members = {
            "status": answer.status,
            "content_type": answer.content_type,
            "body": base64.b64encode(answer.body).decode(),
        }
        text = json.dumps(members).encode()
    if len(text) > ANSWER_BYTES:
        raise LabError(f"HQ's answer takes {len(text)} bytes, its place in the image has {ANSWER_BYTES}")
    entries = [cpio.file("lab/answer", text.ljust(ANSWER_BYTES))]
    if factory is not None:
        entries.append(cpio.file(FACTORY, factory, mode=0o600))
    return cpio.archive(entries)


def _base(init: str) -> list[cpio.Entry]:
    return [
        cpio.program("bin/busybox", part("busybox").path.read_bytes()),
        cpio.program("init", (GUEST / init).read_bytes()),
        cpio.file("lab/common.sh", (GUEST / "common.sh").read_bytes()),
        # The kernel opens it before anything is mounted.
        cpio.character_device("dev/console", 5, 1),
    ]
