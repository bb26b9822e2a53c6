"""docs/threat-model.md claims only what a test shows: every test that it names exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs/threat-model.md").read_text(encoding="utf-8")
NAMED = re.findall(r"`((?:agent|hq|tests)[\w/]*/test_\w+\.py)::(test_\w+)`", PAGE)
_ROWS = [line for line in PAGE.split("## The claims")[1].splitlines() if line.startswith("| ")]
CLAIMS = [row for row in _ROWS if not row.startswith("| claim")]


def names_of_tests(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


@pytest.mark.parametrize(("file", "name"), NAMED, ids=[name for _, name in NAMED])
def test_a_test_that_a_claim_names_exists(file: str, name: str) -> None:
    assert name in names_of_tests(ROOT / file)


@pytest.mark.parametrize("claim", CLAIMS, ids=[claim[2:50] for claim in CLAIMS])
def test_every_claim_names_its_test(claim: str) -> None:
    _, _, shown, _ = claim.split("|")
    assert "::test_" in shown


def test_the_honest_sentence_is_there() -> None:
    assert "can simulate the box" in PAGE
    assert "32 bytes from the factory remove it" in PAGE
