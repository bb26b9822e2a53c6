"""What a check found, as a value: what is so, why it matters, how to mend it. Printed by the command line."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    OK = "ok"
    WARNING = "warning"
    UNKNOWN = "cannot tell"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """`check` is a stable dotted name for scripts; `why` and `mend` are empty when all is well."""

    check: str
    outcome: Outcome
    what: str
    why: str = ""
    mend: str = ""
    value: str = ""
    """What was found, alone, where a program wants it (an account's URL)."""


def ok(check: str, what: str, *, value: str = "") -> Finding:
    return Finding(check=check, outcome=Outcome.OK, what=what, value=value)


def warning(check: str, what: str, *, why: str, mend: str) -> Finding:
    return Finding(check=check, outcome=Outcome.WARNING, what=what, why=why, mend=mend)


def unknown(check: str, what: str, *, why: str = "", mend: str = "") -> Finding:
    return Finding(check=check, outcome=Outcome.UNKNOWN, what=what, why=why, mend=mend)


def failed(check: str, what: str, *, why: str, mend: str) -> Finding:
    return Finding(check=check, outcome=Outcome.FAILED, what=what, why=why, mend=mend)


def any_failed(findings: Iterable[Finding]) -> bool:
    return any(finding.outcome is Outcome.FAILED for finding in findings)
