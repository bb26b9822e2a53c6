"""docs/factory.md: its commands run in its order and do what it says."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path
from typing import Any

Installation = Any  # the class lives in conftest.py, which cannot be imported
PAGE = (Path(__file__).parents[3] / "docs" / "factory.md").read_text(encoding="utf-8")


def test_the_commands_of_the_page_run_in_order(installed: Installation) -> None:
    installed.edit('policies = ["token"]', 'policies = ["factory", "token"]')
    with installed.config.open("a") as file:
        file.write('\n[factory]\nlabel_url = "https://start.example.com"\n')
    lines = [line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]
    assert [line.split()[2] for line in lines] == ["stamp", "import", "verify", "verify", "lint"]
    (installed.folder / "rootfs" / "etc").mkdir(parents=True)
    shutil.copy(installed.folder / "hq-data" / "pki" / "root.pem", installed.folder / "root.pem")
    with installed.started("serve", "--json") as hq:
        assert '"ready"' in hq.stdout.readline()
        for line in lines:
            here = line.replace("https://hq.example.com:8443", f"https://127.0.0.1:{installed.device_port}")
            done = installed.call(*shlex.split(here)[1:])
            assert (done.returncode, done.stderr) == (0, ""), f"{line}: {done.stdout}{done.stderr}"
            assert done.stdout


def test_the_files_that_the_page_names_are_those_of_a_batch(installed: Installation) -> None:
    (command,) = re.findall(r"^otscert (factory stamp .*)$", PAGE, re.MULTILINE)
    assert installed.call(*shlex.split(command)).returncode == 0
    table = PAGE.split("| in `batch-7` |")[1].split("\n\n")[0]
    for name in re.findall(r"^\| `([^`]+)`", table, re.MULTILINE):
        path = installed.folder / "batch-7" / name
        closed = path.stat().st_mode & 0o077 == 0
        (row,) = (row for row in table.splitlines() if f"`{name}`" in row)
        assert closed == ("**yes**" in row), row
