"""What a figure is: a value with its target, met or missed. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Verdict(StrEnum):
    MET = "met"
    MISSED = "missed"
    NONE = "no target"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One line of the table. `limit` is the largest (or, with `at_least`, the smallest) value that meets the target."""

    name: str
    value: float
    unit: str
    limit: float | None = None
    at_least: bool = False

    @property
    def verdict(self) -> Verdict:
        if self.limit is None:
            return Verdict.NONE
        met = self.value >= self.limit if self.at_least else self.value <= self.limit
        return Verdict.MET if met else Verdict.MISSED

    @property
    def target(self) -> str:
        if self.limit is None:
            return ""
        return f"{'>=' if self.at_least else '<='} {self.limit:g} {self.unit}".rstrip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A part of the run: its figures, how they were taken, and everything else that was seen."""

    name: str
    title: str
    how: str
    figures: tuple[Figure, ...]
    details: dict[str, Any]
    profile: tuple[str, ...] = ()
    """Where the time goes, when a target was missed."""


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Return the nearest-rank percentile of an ascending, non-empty sequence."""
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def median(values: Sequence[float]) -> float:
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
