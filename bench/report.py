"""What a run leaves: JSON with everything, and the generated part of docs/benchmarks.md. Pure but for the two writes.

The text around the markers is written by hand and is kept.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from bench.errors import BenchError
from bench.figures import Figure, Section, Verdict

BEGIN = "<!-- begin: written by `make bench` -->"
END = "<!-- end: written by `make bench` -->"


def document(sections: Sequence[Section], *, run: dict[str, Any]) -> dict[str, Any]:
    """The JSON of a run."""
    return {**run, "sections": [_section(section) for section in sections]}


def _section(section: Section) -> dict[str, Any]:
    figures = [
        {**asdict(figure), "value": round(figure.value, 4), "target": figure.target, "verdict": figure.verdict.value}
        for figure in section.figures
    ]
    return {**asdict(section), "figures": figures}


def table(sections: Sequence[Section], *, run: dict[str, Any]) -> str:
    """The generated part of the page, in Markdown."""
    machine, parts = run["machine"], run["parts"]
    versions = ", ".join(f"{name} {version}" for name, version in parts.items())
    began, load = datetime.fromisoformat(run["began"]), (run["load_before"][0], run["load_after"][0])
    where = f"{machine['cpu']}, {machine['cores']} cores, {machine['ram_gib']} GiB RAM, Linux {machine['kernel']}"
    software = f"Python {machine['python']}, OpenSSL {machine['openssl']}, {versions}"
    taken = f"Taken on {began:%Y-%m-%d} at {began:%H:%M} UTC, in {run['took_s']:.0f} s."
    lines = [f"{taken} Machine: {where}; load average before {load[0]}, after {load[1]}. {software}.", ""]
    for section in sections:
        lines += [f"### {section.title}", "", section.how, "", "| what | value | target | |", "|---|---:|---:|---|"]
        lines += [_row(figure) for figure in section.figures]
        if section.profile:
            lines += ["", "Where the time goes:", "", "```text", *section.profile, "```"]
        lines.append("")
    return "\n".join(lines)


def _row(figure: Figure) -> str:
    verdict = {Verdict.MET: "met", Verdict.MISSED: "**missed**", Verdict.NONE: ""}[figure.verdict]
    return f"| {figure.name} | {number(figure.value)} {figure.unit} | {figure.target} | {verdict} |"


def number(value: float) -> str:
    """Three significant digits, thousands apart, no exponent."""
    if value >= 100 or value == int(value):
        return f"{value:,.0f}".replace(",", " ")
    return f"{value:.{1 if value >= 10 else 2}f}"


def lines(section: Section) -> list[str]:
    """A section as the terminal shows it."""
    shown = [section.title]
    for figure in section.figures:
        verdict = "" if figure.verdict is Verdict.NONE else f"  target {figure.target}: {figure.verdict.value}"
        shown.append(f"  {figure.name:<58} {number(figure.value):>9} {figure.unit}{verdict}")
    return [*shown, *(f"    {line}" for line in section.profile)]


def into_page(page: str, generated: str) -> str:
    """Return the page with what stands between the markers exchanged.

    Raises:
        BenchError: when the page has no markers.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise BenchError(f"the page lacks the lines {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{generated}\n{END}{after}"


def write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
