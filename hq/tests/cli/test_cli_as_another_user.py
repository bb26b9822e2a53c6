"""A command that is run as another user than HQ's says whose the files are."""

from __future__ import annotations

import os
import pwd
from pathlib import Path
from typing import Any

import pytest

from otscert.owner import who_may

Installation = Any  # the class lives in conftest.py, which cannot be imported
DENIED = PermissionError(13, "Permission denied")
SOMEBODY = 1  # "daemon" on every Debian
ME = os.geteuid()


def test_the_owner_of_a_file_or_of_the_nearest_folder_is_named(tmp_path: Path) -> None:
    me = pwd.getpwuid(ME).pw_name
    for path in (tmp_path, tmp_path / "hidden" / "token"):
        assert who_may(path, DENIED, uid=ME + 1) == f"; it belongs to {me}: run otscert as that user"


def test_nobody_is_sent_to_be_whom_he_is_or_where_it_does_not_help(tmp_path: Path) -> None:
    assert who_may(tmp_path, DENIED) == ""
    assert who_may(tmp_path, FileNotFoundError(2, "No such file"), uid=ME + 1) == ""


@pytest.mark.skipif(ME != 0, reason="only root can give a file away")
@pytest.mark.parametrize("given", ["hq-data/token-box", "otscert.toml", "hq-data"])
def test_a_command_says_as_whom_to_run_it(
    installed: Installation, as_nobody_special: tuple[str, ...], given: str
) -> None:
    path = installed.folder / given
    path.chmod(0o700 if path.is_dir() else 0o600)
    os.chown(path, SOMEBODY, SOMEBODY)
    done = installed.run("device", "list", before=as_nobody_special)
    assert done.returncode == 1
    assert "cannot be read" in done.stderr
    name = pwd.getpwuid(SOMEBODY).pw_name
    assert done.stderr.endswith(f"Permission denied; it belongs to {name}: run otscert as that user\n")
