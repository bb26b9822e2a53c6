"""docs/events.md lists every kind of event that HQ's code records, and no other."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted((ROOT / "hq/src/otscert").rglob("*.py"))
KIND = re.compile(r"[a-z_]+\.[a-z_]+\Z")


def kinds_of(tree: ast.Module) -> Iterator[str]:
    """Literal kinds of a module: given to `events.append`, to a note, to what records a `kind`, or to `Refusal`."""
    named = {
        target.id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    recorders = {"note": 1}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and "events" in ast.dump(node):
            arguments = [argument.arg for argument in node.args.args if argument.arg != "self"]
            if "kind" in arguments:
                recorders[node.name] = arguments.index("kind")
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg == "event" and isinstance(node.value, ast.Tuple):
            yield from literals(node.value.elts[0], named)
        if not isinstance(node, ast.Call):
            continue
        called = node.func
        name = called.attr if isinstance(called, ast.Attribute) else called.id if isinstance(called, ast.Name) else ""
        if name == "append" and isinstance(called, ast.Attribute) and ast.unparse(called.value).endswith("events"):
            yield from literals(node.args[0], named)
        elif name in recorders and len(node.args) > recorders[name]:
            yield from literals(node.args[recorders[name]], named)


def literals(value: ast.expr, named: dict[str, ast.expr]) -> Iterator[str]:
    if isinstance(value, ast.Name) and value.id in named:
        value = named[value.id]
    found = (part.value for part in ast.walk(value) if isinstance(part, ast.Constant))
    yield from (text for text in found if isinstance(text, str) and KIND.match(text))


def recorded() -> set[str]:
    trees = (ast.parse(path.read_text(encoding="utf-8")) for path in SOURCES)
    return {kind for tree in trees for kind in kinds_of(tree)}


def documented() -> set[str]:
    rows = re.findall(r"^\| (`.*?) \|", (ROOT / "docs/events.md").read_text(encoding="utf-8"), re.MULTILINE)
    return {kind for row in rows for kind in re.findall(r"`([^`]+)`", row)}


def test_every_kind_of_event_is_documented_and_no_other() -> None:
    assert documented() == recorded()


def test_the_search_finds_every_way_in_which_an_event_is_recorded() -> None:
    found = recorded()
    for kind in ("device.admitted", "clone.seen", "unit.cloned", "key.weak", "rng.repeats", "admission.approved"):
        assert kind in found
