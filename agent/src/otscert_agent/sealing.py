"""`otscert-agent seal` and `reset`: a folder with nothing in it for an image, a box that forgets who it is.

Both need the folder for themselves, so they refuse while an agent runs. Nothing here talks to HQ: a box that was reset
simply enrols again.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from otscert_agent.disk import Disk, FileOps
from otscert_agent.errors import StateError
from otscert_agent.facts import installed_facts
from otscert_agent.forget import forget
from otscert_agent.report import NOTE
from otscert_agent.state import Store

HOLD_FILE = "hold"  # a file of this name in the state folder keeps an image from enrolling
# The name that the box is served under goes first, then its keys; the lock is held to the end.
_KNOWN = ("current", "current.tmp", "pairs", "state.json", "state.json.tmp", NOTE, NOTE + ".tmp", HOLD_FILE, "lock")
_PARTITION = "lost+found"  # where the folder is a file system of its own


@dataclass(frozen=True)
class Sealed:
    """What was removed (names in the state folder), and whether the image is on hold now."""

    removed: list[str]
    hold: bool


@dataclass(frozen=True)
class Forgotten:
    """Whose the box was: empty when it had not been enrolled."""

    names: list[str]
    device_id: str | None


def seal(folder: Path, *, hold: bool) -> Sealed:
    """Remove everything that the agent has ever written to `folder`; with `hold` leave the hold file, and only that.

    Raises `StateError`, before anything is removed, while an agent runs there or when other files lie in the folder.
    """
    disk = Disk(folder)
    if not folder.exists() and not hold:
        return Sealed(removed=[], hold=False)
    disk.make()
    held = (folder / HOLD_FILE).exists()
    lock_is_new = not (folder / "lock").exists()
    disk.lock()
    try:
        strange = sorted(path.name for path in disk.entries() if path.name not in {*_KNOWN, _PARTITION})
        if strange:
            raise StateError(
                f"{folder} holds what the agent has not written ({', '.join(strange[:5])}): nothing was removed;"
                " is state_dir right? Move those files elsewhere and seal again"
            )
        kept = {HOLD_FILE} if hold else set()
        if lock_is_new:
            kept.add("lock")
        present = {path.name: path for path in disk.entries()}
        removed = [name for name in _KNOWN if name in present and name not in kept]
        for name in removed:
            disk.remove(present[name])
        if hold and not held:
            disk.write(HOLD_FILE, b"")
        if lock_is_new:
            disk.remove(folder / "lock")
        return Sealed(removed=removed, hold=hold)
    finally:
        disk.unlock()


def reset(folder: Path, ops: FileOps | None = None) -> Forgotten:
    """Forget identity, name and pair; the pool, the counts and what is known about HQ stay. May be called again."""
    disk = Disk(folder, ops)
    disk.prepare()
    disk.lock()
    try:
        store = Store(disk, tolerant=True)  # of a damaged one nothing can be kept
        before = Forgotten(names=_names(disk) or store.state.names, device_id=store.state.device_id)
        forget(disk, store)
        disk.note(NOTE, json.dumps({"step": "not started", "why": "reset: it enrols as a new box"}).encode())
        return before
    finally:
        disk.unlock()


def _names(disk: Disk) -> list[str]:
    try:
        return installed_facts(disk).names
    except StateError:
        return []
