"""The documents say what is so: their commands run, their links lead somewhere, their tables match the code."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from otscert.domain.order import OrderEvent, OrderState

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
SHELL = re.compile(r"^( *)```sh\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)")


def commands(page: Path) -> list[str]:
    return [line.strip() for _, block in SHELL.findall(page.read_text(encoding="utf-8")) for line in block.splitlines()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    dead = [link for link in LINK.findall(page.read_text(encoding="utf-8")) if not (page.parent / link).exists()]
    assert dead == []


def test_every_make_target_that_a_page_names_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = {line.split()[1] for page in PAGES for line in commands(page) if line.startswith("make ")}
    assert {"demo", "test"} <= named
    assert named <= targets


def test_the_readme_leads_from_nothing_to_a_running_hq(tmp_path: Path) -> None:
    """Every `otscert` line of the README, in its order, in an empty folder; `serve` must become ready."""
    lines = [line for line in commands(ROOT / "README.md") if line.startswith("otscert ")]
    assert [line.split()[1] for line in lines] == ["init", "config", "doctor", "serve"]
    for line in lines:
        if line == "otscert serve":
            _serves(tmp_path)
            continue
        ended = _run(line, tmp_path)
        # The doctor of a machine without the delegation finds something wrong, and says so without failing itself.
        assert ended.returncode == 0 or line == "otscert doctor", ended.stderr
        assert "Traceback" not in ended.stderr
        assert ended.stdout


# The CA of the README's configuration is out of reach of the tests, and shall stay so.
_ENVIRONMENT = {**os.environ, "OTSCERT_ISSUER_LETSENCRYPT_STAGING_DIRECTORY_URL": "https://127.0.0.1:9/directory"}


def _command(line: str) -> list[str]:
    return [sys.executable, "-m", *shlex.split(line)]


def _run(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        _command(line), cwd=folder, env=_ENVIRONMENT, check=False, capture_output=True, text=True, timeout=60
    )


def _serves(folder: Path) -> None:
    config = folder / "otscert.toml"
    text = config.read_text(encoding="utf-8")
    config.write_text(
        text.replace("0.0.0.0:8443", "127.0.0.1:0").replace("0.0.0.0:53", "127.0.0.1:0"), encoding="utf-8"
    )
    process = subprocess.Popen(
        _command("otscert serve"),
        cwd=folder,
        env=_ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("HQ is ready.")
    finally:
        process.terminate()
        process.communicate(timeout=20)
    assert process.returncode == 0


def test_the_picture_of_an_order_uses_the_words_of_the_table() -> None:
    picture = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8").split("## The life of an order")[1]
    assert [state for state in OrderState if state not in picture] == []
    assert [event for event in OrderEvent if event not in picture] == []


def test_every_folder_of_hq_is_in_the_architecture_page() -> None:
    page = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    folders = [
        path.name for path in (ROOT / "hq/src/otscert").iterdir() if path.is_dir() and path.name != "__pycache__"
    ]
    assert [name for name in folders if f"{name}/" not in page] == []
