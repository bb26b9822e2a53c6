"""Whose a file is that this process may not read: the sentence that tells a person which user to be.

Knows users as the system names them. Does not know which files are HQ's.
"""

from __future__ import annotations

import os
import pwd
from pathlib import Path


def who_may(path: Path, error: OSError, *, uid: int | None = None) -> str:
    """What to append to "... cannot be read: Permission denied"; empty where another user would not help."""
    if not isinstance(error, PermissionError):
        return ""
    owner = _owner(path)
    if owner is None or owner == (os.geteuid() if uid is None else uid):
        return ""
    return f"; it belongs to {_name(owner)}: run otscert as that user"


def _owner(path: Path) -> int | None:
    """Of the file, or of the folder that hides it."""
    for place in (path, *path.absolute().parents):
        try:
            return place.stat().st_uid
        except OSError:
            continue
    return None


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"the user with the number {uid}"
