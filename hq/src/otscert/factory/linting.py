"""What an image must not hold: anything that makes two boxes one. Each rule says why, and what to do.

Knows the agent's folders and where systems keep seeds and identities. Looks only; changes nothing.
"""

from __future__ import annotations

import re
import stat
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from otscert.factory.checks import Check, Verdict, bad, odd
from otscert.factory.image import Image
from otscert.factory.unit_folder import HOLD_FILE, SECRET_FILE, UBOOT_SECRET
from otscert_agent.wire.errors import WireError
from otscert_agent.wire.factory import SECRET_BYTES, Factory
from otscert_agent.wire.jws import json_object

AGENT_FILE = "/etc/otscert/agent.toml"
STATE_DIR = "/var/lib/otscert-agent"
"""The agent's default `state_dir`."""
_STATE_MEMBERS = frozenset({"version", "pool", "identity", "hello"})
"""Of the agent's state.json, wherever it lies."""
_SEEDS = (
    "/var/lib/systemd/random-seed",
    "/var/lib/urandom/random-seed",
    "/var/lib/random-seed",
    "/var/lib/misc/random-seed",
    "/var/lib/seedrng/seed.credit",
    "/var/lib/seedrng/seed.no-credit",
    "/etc/random-seed",
    "/etc/urandom.seed",
    "/etc/seedrng/seed.credit",
    "/etc/seedrng/seed.no-credit",
    "/boot/loader/random-seed",
    "/boot/efi/loader/random-seed",
    "/efi/loader/random-seed",
)
_HOST_KEYS = re.compile(r"/etc/(ssh/ssh_host_\w+_key|dropbear/dropbear_\w+_host_key)\Z")
_SECRET_LINE = re.compile(rb"[A-Za-z0-9_-]{43}\n?\Z")
# A line of a script for fw_setenv, or a string of an environment's image, which ends each with a zero byte.
_UBOOT_SECRET = re.compile(rb"(?:^|[\x00\n])%s=[A-Za-z0-9_-]{43}(?=[\x00\s]|\Z)" % UBOOT_SECRET.encode())
_LARGEST = 256 * 1024  # of what is looked into: an environment's image has 128 KiB at most, a state some 10
_PRIVATE_KEY = re.compile(rb"-----BEGIN ([A-Z]+ )?PRIVATE KEY-----")


def lint(image: Image) -> list[Check]:
    """Everything that is wrong with the image, in the order of its paths; empty when it may be copied."""
    settings, checks = _agent_settings(image)
    state_dirs = {STATE_DIR, str(settings.get("state_dir", STATE_DIR))}
    checks += _check_token(image, settings)
    secret = _configured(image, settings, "factory_file")
    folders = [found for path in sorted(state_dirs) if (found := image.real(path)) is not None]
    seeds = {found: path for path in _SEEDS if (found := image.real(path)) is not None}
    for path in image.files():
        if path == secret:
            checks.append(_secret(image.shown(path)))
        else:
            checks += _check_file(image, path, state_dirs=folders, seeds=seeds)
    checks += _check_links(image, folders)
    checks += _check_mounts(image)
    checks += _check_machine_id(image)
    return checks


def _agent_settings(image: Image) -> tuple[dict[str, Any], list[Check]]:
    found = image.real(AGENT_FILE)
    data = image.read(found) if found is not None else None
    if data is None:
        return {}, []
    try:
        return tomllib.loads(data.decode("utf-8")), []
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        check = bad(
            "image.agent",
            f"{AGENT_FILE} is not TOML: {error}",
            why="the agent would not start, and nobody can say where it keeps its state",
            mend="correct it",
        )
        return {}, [check]


def _configured(image: Image, settings: dict[str, Any], name: str) -> Path | None:
    """The file that a setting names, None when it is not set or not in the image."""
    path = settings.get(name)
    return image.real(str(PurePosixPath("/") / path)) if isinstance(path, str) and path else None


def _check_token(image: Image, settings: dict[str, Any]) -> Iterator[Check]:
    name, configured, found = "image.token", settings.get("token_file"), _configured(image, settings, "token_file")
    if not isinstance(configured, str) or not configured:
        return
    if found is None:
        what, mend = f"token_file {configured} is not in the image", "put it there, mode 0600, or take the setting out"
        yield odd(name, what, why="the agent does not start without it, unless it is added later", mend=mend)
    elif stat.S_IMODE(found.stat().st_mode) & 0o077:
        yield bad(
            name,
            f"token_file {configured} has mode {stat.S_IMODE(found.stat().st_mode):04o}",
            why="every program on the box could read the model's claim token, and the agent refuses to start",
            mend=f"chmod 600 {found}",
        )


def _check_file(image: Image, path: Path, *, state_dirs: Iterable[Path], seeds: dict[Path, str]) -> Iterator[Check]:
    shown = image.shown(path)
    if any(path.is_relative_to(folder) for folder in state_dirs):
        if path.name != HOLD_FILE or path.parent not in set(state_dirs):
            yield _state(shown, "it lies in the agent's state folder")
        return
    if path in seeds:
        yield bad(
            "image.seed",
            f"{shown} is a saved random seed",
            why="every box would begin with the same one",
            mend="remove it; the system makes a new one",
        )
        return
    if _HOST_KEYS.match(shown):
        what, why = f"{shown} is an SSH host key", "every box would have the same one"
        yield odd("image.ssh", what, why=why, mend="remove it, and make one at first boot (ssh-keygen -A)")
        return
    yield from _check_content(image, path, shown)


def _check_content(image: Image, path: Path, shown: str) -> Iterator[Check]:
    """Files that are known by their names or by what is in them, wherever they lie."""
    if path.stat().st_size > _LARGEST:
        return
    data = image.read(path)
    if data is None:
        what, mend = f"{shown} cannot be read", "run this as root"
        yield Check(name="image.unreadable", verdict=Verdict.UNKNOWN, what=what, mend=mend)
        return
    if _is_state(data):
        yield _state(shown, "it holds an agent's identity")
    elif _is_box_key(path, data):
        yield _state(shown, "it is a box's private key beside its certificate")
    elif _is_secret(path, data):
        yield _secret(shown)


def _is_state(data: bytes) -> bool:
    if not data.startswith(b"{"):
        return False
    try:
        return json_object(data, what="it").keys() >= _STATE_MEMBERS
    except WireError:
        return False


def _is_box_key(path: Path, data: bytes) -> bool:
    """A key of the agent's: by the file beside it, or by the folder, from which that one may be gone."""
    if path.name != "key.pem" or not _PRIVATE_KEY.search(data):
        return False
    return path.with_name("chain.pem").exists() or path.parent.parent.name == "pairs"


def _is_secret(path: Path, data: bytes) -> bool:
    """A file of the stamp's by its name or as its variable, whatever its name; or a lone line that can be a secret."""
    if _UBOOT_SECRET.search(data):
        return True
    if path.name == SECRET_FILE and len(data) == SECRET_BYTES:  # the form without text
        return True
    if not _SECRET_LINE.match(data) or ("factory" not in str(path) and path.suffix != ".secret"):
        return False
    try:
        Factory.from_text(data.decode("ascii"))
    except WireError:
        return False
    return True


def _check_links(image: Image, state_dirs: Iterable[Path]) -> Iterator[Check]:
    """The symlink `current`, which a box makes with its first certificate."""
    for folder in state_dirs:
        if folder.is_dir() and (folder / "current").is_symlink():
            yield _state(image.shown(folder / "current"), "it points to a box's certificate")


def _check_mounts(image: Image) -> Iterator[Check]:
    for path in image.mounts():
        what = f"{image.shown(path)} is another file system, and was not looked at"
        yield Check(name="image.mount", verdict=Verdict.UNKNOWN, what=what, mend="unmount it, or look at it by itself")


def _check_machine_id(image: Image) -> Iterator[Check]:
    found = image.real("/etc/machine-id")
    data = image.read(found) if found is not None else None
    if data is not None and data.strip() not in {b"", b"uninitialized"}:
        what, why = "/etc/machine-id is set", "every box would have the same one, in DHCP and in logs, too"
        yield odd("image.machine-id", what, why=why, mend="leave the file empty: systemd fills it at first boot")


def _secret(shown: str) -> Check:
    return bad(
        "image.secret",
        f"{shown} holds a factory secret",
        why="every box would be the same unit, and HQ would quarantine it",
        mend="remove it; secrets are written to each unit's own partition. Take that unit off the line",
    )


def _state(shown: str, what: str) -> Check:
    return bad(
        "image.state",
        f"{shown}: {what}",
        why="the image was taken from a box that had run: every copy would be that box",
        mend="otscert-agent seal, before the image is taken",
    )
