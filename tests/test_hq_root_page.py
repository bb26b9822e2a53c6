"""docs/hq-root.md: its commands run, in its order."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).resolve().parent.parent / "docs" / "hq-root.md"
SHELL = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_the_commands_of_the_page_run_in_its_order(tmp_path: Path) -> None:
    page = PAGE.read_text(encoding="utf-8")
    here, offline = (SHELL.findall(part) for part in page.split("## An offline root"))
    given = "--zone boxes.example.com --public-url https://hq.example.com --address 192.0.2.1"
    run(f"otscert init {given}", tmp_path)
    for block in here:
        run(block, tmp_path)
    safe = tmp_path / "safe"
    safe.mkdir(mode=0o700)
    shutil.copy(tmp_path / "hq-data" / "pki" / "root.pem", safe)
    shutil.move(tmp_path / "hq-data" / "pki" / "root.key", safe)
    for block in offline:
        run(block, tmp_path)
    assert len(here) + len(offline) == 6


def run(block: str, folder: Path) -> None:
    for line in block.splitlines():
        command = [sys.executable, "-m", *shlex.split(line)]
        ended = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True, timeout=60)
        assert ended.returncode == 0, f"{line}: {ended.stderr}"
        assert ended.stdout
