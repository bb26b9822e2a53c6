from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from typing import Any

import pytest

Installation = Any  # the class lives in conftest.py, which cannot be imported
DECORATION = re.compile(r"[\x1b\u2500-\u257f]")


@pytest.mark.parametrize(
    "arguments", [("--help",), ("device", "list", "--help"), ("device", "lits"), ("config", "check")]
)
def test_a_pipe_gets_no_colours_and_no_frames(installed: Installation, arguments: tuple[str, ...]) -> None:
    done = installed.run(*arguments)
    assert done.stdout + done.stderr
    assert DECORATION.search(done.stdout + done.stderr) is None


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize("arguments", [("--help",), ("config", "check"), ("doctor", "--help")])
def test_a_terminal_gets_lines_that_fit(installed: Installation, columns: int, arguments: tuple[str, ...]) -> None:
    lines = on_a_terminal(installed, columns, *arguments)
    assert len(lines) > 3
    assert max(map(len, lines)) <= columns


def test_a_table_breaks_no_word_on_a_terminal_that_has_room(installed: Installation) -> None:
    lines = on_a_terminal(installed, 80, "plan", "--boxes", "1000", "--per-day", "50")
    (planned,) = (line for line in lines if line.startswith("as planned"))
    assert planned.split()[-1] == "certificates-per-domain"
    heading = next(number for number, line in enumerate(lines) if line.startswith("change"))
    assert {"longest", "median", "queue's"} <= set(" ".join(lines[heading - 1 : heading + 1]).split())


def on_a_terminal(installed: Installation, columns: int, *arguments: str) -> list[str]:
    controller, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "otscert", *arguments],
        cwd=installed.folder,
        env={**os.environ, "COLUMNS": str(columns), "TERM": "xterm"},
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
    )
    os.close(terminal)
    written = b""
    try:
        while chunk := os.read(controller, 4096):
            written += chunk
    except OSError:
        pass  # Linux says EIO when the last process has closed the terminal
    finally:
        os.close(controller)
        process.wait(30)
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written.decode()).splitlines()


def test_the_version_is_printed(empty: Installation) -> None:
    done = empty.start("--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"otscert \d+\.\d+\.\d+\n", done.stdout)


def test_a_command_that_does_not_exist_is_status_2(empty: Installation) -> None:
    done = empty.run("devcie")
    assert done.returncode == 2
    assert "No such command 'devcie'" in done.stderr


def test_without_a_configuration_every_command_says_how_to_get_one(empty: Installation) -> None:
    for arguments in (["serve"], ["doctor"], ["device", "list"], ["order", "list"], ["issuer", "test"]):
        done = empty.run(*arguments)
        assert done.returncode == 1
        assert done.stderr == (
            f"otscert: no otscert.toml in {empty.folder};"
            " --config FILE or OTSCERT_CONFIG names another, otscert init writes one\n"
        )
    named = empty.run("device", "list", "--config", "hq.toml")
    assert named.stderr == "otscert: hq.toml does not exist; otscert init writes one\n"
