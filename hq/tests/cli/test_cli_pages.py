"""The documentation and the programs say the same."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from otscert.cli.main import build

DOCS = Path(__file__).parents[3] / "docs"


def commands(command: Any, name: str) -> dict[str, Any]:
    """Every command that does something, by its whole name."""
    children = getattr(command, "commands", None)
    if not children:
        return {name: command}
    found = {name: command} if name == "otscert" or command.invoke_without_command else {}
    for child, below in children.items():
        found |= commands(below, f"{name} {child}")
    return found


TREE = commands(get_command(build()), "otscert")


def sections() -> dict[str, str]:
    parts = re.split(r"^## (.+)$", (DOCS / "commands.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_every_command_has_its_section_and_no_other() -> None:
    assert sorted(name for name in sections() if not name.startswith("otscert-agent")) == sorted(TREE)


def test_every_command_of_the_agent_has_its_section_with_an_example() -> None:
    told = subprocess.run(
        [sys.executable, "-m", "otscert_agent.cli", "--help"], capture_output=True, text=True, check=True
    )
    listed = re.search(r"\{([a-z,]+)\}", told.stdout)
    assert listed
    agents = {f"otscert-agent {command}" for command in listed[1].split(",")}
    assert agents == {name for name in sections() if name.startswith("otscert-agent")}
    assert all(f"\n    {name}" in sections()[name] for name in agents)


@pytest.mark.parametrize("name", TREE)
def test_every_option_is_described_and_no_other(name: str) -> None:
    options = {option for parameter in TREE[name].params for option in parameter.opts if option.startswith("--")}
    written = set(re.findall(r"--[a-z][a-z-]*", sections()[name]))
    # `--help` is every command's; an example of another option in the text is not an option that is missing.
    assert written - {"--help"} == options - {"--help"}


@pytest.mark.parametrize("name", TREE)
def test_every_command_has_an_example_and_a_help_text(name: str) -> None:
    assert f"\n    {name}" in sections()[name]
    assert TREE[name].help
    assert TREE[name].epilog


def test_the_page_of_settings_is_what_the_programs_read() -> None:
    page = runpy.run_path(str(DOCS / "make_settings.py"))["page"]()
    assert (DOCS / "settings.md").read_text(encoding="utf-8") == page, "run: .venv/bin/python docs/make_settings.py"
