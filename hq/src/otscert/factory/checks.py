"""What a look at a unit or an image found, as a value. Printed by the command line."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Verdict(Enum):
    GOOD = "good"
    ODD = "odd"
    BAD = "bad"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """`name` is for scripts; `why` and `mend` are empty when all is well."""

    name: str
    verdict: Verdict
    what: str
    why: str = ""
    mend: str = ""


def good(name: str, what: str) -> Check:
    return Check(name=name, verdict=Verdict.GOOD, what=what)


def odd(name: str, what: str, *, why: str, mend: str) -> Check:
    return Check(name=name, verdict=Verdict.ODD, what=what, why=why, mend=mend)


def bad(name: str, what: str, *, why: str, mend: str) -> Check:
    return Check(name=name, verdict=Verdict.BAD, what=what, why=why, mend=mend)
