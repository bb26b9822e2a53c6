"""Is an HQ running on this data folder, and how is it told to read its configuration again?"""

from __future__ import annotations

import fcntl
import os
import signal
from contextlib import suppress

from otscert.cli.errors import CommandFailed
from otscert.config import Config


def pid_of_hq(config: Config) -> int | None:
    """The process that holds the data folder's lock; None when nobody does, or nobody that this user may know of."""
    try:
        descriptor = os.open(config.data_dir / "hq.lock", os.O_RDONLY)
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
    pid = pid_of_hq(config)
    if pid is None:
        return "HQ is not running here: it holds from the next start on."
    if reload:
        tell(pid)
        return f"HQ (process {pid}) was told: its log says config.read_again, or why not."
    return f"HQ (process {pid}) does not know yet: kill -HUP {pid}, or --reload here next time."
