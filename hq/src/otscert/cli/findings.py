"""Prints findings of the checks: a line each, and below it why it matters and how to mend it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict

import typer
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from otscert.cli.show import print_json, printable
from otscert.ops.doctor_finding import Finding, Outcome

_STYLES = {Outcome.OK: "green", Outcome.WARNING: "yellow", Outcome.UNKNOWN: "cyan", Outcome.FAILED: "bold red"}
_WIDTH = max(len(outcome.value) for outcome in Outcome)


def print_findings(findings: Sequence[Finding], *, as_json: bool, good: bool) -> None:
    """Print all of them; `good` is what the exit status will say."""
    if as_json:
        print_json({"ok": good, "findings": [asdict(finding) for finding in findings]})
        return
    for finding in findings:
        _print(finding)


def summary(findings: Sequence[Finding]) -> str:
    """How many of each outcome, the bad ones first."""
    counts = {outcome: sum(finding.outcome is outcome for finding in findings) for outcome in reversed(Outcome)}
    return ", ".join(_counted(count, outcome) for outcome, count in counts.items() if count)


def _counted(count: int, outcome: Outcome) -> str:
    return f"{count} {outcome.value}{'s' if outcome is Outcome.WARNING and count > 1 else ''}"


def _print(finding: Finding) -> None:
    lines = [
        finding.what,
        *(f"{name}: {text}" for name, text in (("why", finding.why), ("mend", finding.mend)) if text),
    ]
    if not sys.stdout.isatty():
        for number, line in enumerate(lines):
            typer.echo(f"{finding.outcome.value if number == 0 else '':{_WIDTH}}  {printable(line)}")
        return
    console = Console()
    for number, line in enumerate(lines):
        if number == 0:
            head = Text(f"{finding.outcome.value:{_WIDTH}}", style=_STYLES[finding.outcome])
            _hanging(console, head, printable(line))
        else:
            console.print(Padding(Text(printable(line), style="dim"), (0, 0, 0, _WIDTH + 2)))


def _hanging(console: Console, head: Text, line: str) -> None:
    wrapped = Text(line).wrap(console, max(20, console.width - _WIDTH - 2))
    for number, part in enumerate(wrapped):
        console.print(Text.assemble(head if number == 0 else Text(" " * _WIDTH), "  ", part), soft_wrap=True)
