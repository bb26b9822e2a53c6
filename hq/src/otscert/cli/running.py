"""Is an HQ running on this data folder, and how is it told to read its configuration again?"""

from __future__ import annotations

import fcntl
import os
import signal
from contextlib import suppress
from pathlib import Path

from otscert.cli.errors import CommandFailed
from otscert.config import Config
from otscert.process import MOST_BESIDE, lock_file


def pids_of_hq(config: Config) -> list[int]:
    """The processes that hold locks of the data folder; none when nobody does, or nobody that this user may know of."""
    found = []
    for number in range(1, MOST_BESIDE + 1):
        path = lock_file(config.data_dir, number)
        if not path.exists():
            break
        pid = _pid_in(path)
        if pid is not None:
            found.append(pid)
    return found


def tell(pid: int) -> None:
    """Make HQ read its configuration again; raise `CommandFailed`."""
    try:
        os.kill(pid, signal.SIGHUP)
    except OSError as error:
        raise CommandFailed(
            f"HQ (process {pid}) cannot be told ({error.strerror}): run this as its user, or systemctl reload otscert"
        ) from error


def next_step(config: Config, *, reload: bool) -> str:
    """Tell HQ if wanted; return the sentence about it."""
    pids = pids_of_hq(config)
    if not pids:
        return "HQ is not running here: it holds from the next start on."
    shown = f"process{'es' if len(pids) > 1 else ''} {', '.join(map(str, pids))}"
    # Whoever has a database that others can share may have processes on other machines too.
    elsewhere = " Tell those on other machines too." if config.database_url else ""
    if reload:
        for pid in pids:
            tell(pid)
        return f"HQ ({shown}) was told: its log says config.read_again, or why not.{elsewhere}"
    kill = " ".join(map(str, pids))
    return f"HQ ({shown}) does not know yet: kill -HUP {kill}, or --reload here next time.{elsewhere}"


def _pid_in(path: Path) -> int | None:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return None  # a number that an HQ of before has left there
        text = os.pread(descriptor, 20, 0).strip()
        return int(text) if text.isdigit() else None
    finally:
        os.close(descriptor)
