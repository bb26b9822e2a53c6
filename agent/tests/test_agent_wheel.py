"""The agent is one wheel with one dependency: built, installed alone, started with nothing else to import."""

from __future__ import annotations

import ast
import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

AGENT = Path(__file__).resolve().parents[1]
SOURCES = sorted((AGENT / "src").rglob("*.py"))
ALLOWED = {"cryptography", "otscert_agent"}


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_a_module_imports_only_the_standard_library_and_cryptography(source: Path) -> None:
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        for name in names:
            top = name.split(".")[0]
            assert top in ALLOWED or top in sys.stdlib_module_names, f"{source.name} imports {name}"


def only_cryptography(folder: Path) -> None:
    """Links to `cryptography` and what it is made of, and to nothing else of this environment."""
    folder.mkdir()
    for name in ("cryptography", "cffi", "_cffi_backend", "pycparser"):
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.origin is not None:
            origin = Path(spec.origin)
            origin = origin.parent if origin.name == "__init__.py" else origin
            (folder / origin.name).symlink_to(origin)


def test_the_wheel_installs_alone_and_starts(tmp_path: Path) -> None:
    sources = tmp_path / "agent"
    shutil.copytree(AGENT, sources, ignore=shutil.ignore_patterns("tests", ".*", "__pycache__"))
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "dist")],
        cwd=sources,
        check=True,
        capture_output=True,
    )
    wheel = next((tmp_path / "dist").glob("*.whl"))
    assert wheel.stat().st_size < 105_000
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin")
    assert uv is not None, "uv is part of the development environment (requirements/dev.txt)"
    subprocess.run(
        [uv, "pip", "install", "--offline", "--no-deps", "--target", str(tmp_path / "site"), str(wheel)],
        check=True,
        capture_output=True,
    )
    only_cryptography(tmp_path / "only")
    modules = [
        ".".join(path.relative_to(tmp_path / "site").with_suffix("").parts)
        for path in sorted((tmp_path / "site" / "otscert_agent").rglob("*.py"))
    ]
    program = (
        f"import sys; sys.path[:0] = [{str(tmp_path / 'site')!r}, {str(tmp_path / 'only')!r}]\n"
        f"import importlib; [importlib.import_module(name) for name in {modules!r}]\n"
        "import runpy; sys.argv = ['otscert-agent', '--help']\n"
        "runpy.run_module('otscert_agent.cli', run_name='__main__', alter_sys=True)\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-W", "ignore", "-c", program], check=True, capture_output=True, text=True
    )
    assert "run" in done.stdout
    assert "enroll" in done.stdout
    assert "status" in done.stdout
