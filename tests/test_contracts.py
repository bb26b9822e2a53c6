"""The import contracts of pyproject.toml cover what they say they cover."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_every_module_of_the_agent_but_wire_is_forbidden_to_hq() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    (contract,) = [
        each for each in contracts if each["source_modules" if "source_modules" in each else "name"] == ["otscert"]
    ]
    modules = {path.stem for path in (ROOT / "agent/src/otscert_agent").glob("*.py")} - {"__init__"}
    assert set(contract["forbidden_modules"]) == {f"otscert_agent.{name}" for name in modules}


def test_every_folder_of_hq_is_a_layer() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    (contract,) = [each for each in contracts if each["type"] == "layers"]
    named = " ".join(contract["layers"])
    folders = [path.name for path in (ROOT / "hq/src/otscert").iterdir() if (path / "__init__.py").exists()]
    assert folders
    assert [name for name in folders if f"otscert.{name}" not in named] == []
