"""What the laboratory claims, what was seen, and whether that bears it out. Values and their table; no I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

WIDEST = 72


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One claim. `seen` are the values it rests on, one per twin; none of them is a secret."""

    experiment: str
    claim: str
    holds: bool
    seen: tuple[str, ...]


def equal(experiment: str, claim: str, *seen: str) -> Finding:
    """The claim that the twins have the same."""
    return Finding(experiment=experiment, claim=claim, holds=len(set(seen)) == 1, seen=seen)


def different(experiment: str, claim: str, *seen: str) -> Finding:
    """The claim that each twin has its own."""
    return Finding(experiment=experiment, claim=claim, holds=len(set(seen)) == len(seen), seen=seen)


def expected(experiment: str, claim: str, wanted: str, *seen: str) -> Finding:
    """The claim that every twin has this."""
    return Finding(experiment=experiment, claim=claim, holds=set(seen) == {wanted}, seen=seen)


def table(findings: Sequence[Finding]) -> list[str]:
    """Return the closing table: per experiment its claims, each with the twins' values."""
    width = max(len(finding.claim) for finding in findings)
    lines = []
    for experiment, group in groupby(findings, key=lambda finding: finding.experiment):
        lines += ["", experiment]
        for finding in group:
            mark = "ok" if finding.holds else "FAILED"
            lines.append(f"  {mark:<6}  {finding.claim:<{width}}  {_values(finding.seen)}")
    return lines


def _values(seen: tuple[str, ...]) -> str:
    short = [value if len(value) <= WIDEST // len(seen) else value[:16] + "..." for value in seen]
    if len(seen) > 1 and len(set(seen)) == 1:
        return f"both {short[0]}"
    return " | ".join(short)
