"""Which rule of which RFC each conformance test shows; the page in docs is made from these marks.

A mark stands on a test: `@rule("2308", "3", "what the RFC demands")`. Knows no tests by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

TOOLS_ALL = "dnspython, dig, kdig"
SOCKETS = "octets"

Test = TypeVar("Test", bound=Callable[..., Any])


class Rule(NamedTuple):
    """One row of the page."""

    rfc: int
    section: str
    says: str
    test: str
    asked_with: str


RULES: dict[tuple[str, int, str], Rule] = {}


def rule(rfc: int, section: str, says: str, *, asked_with: str = TOOLS_ALL) -> Callable[[Test], Test]:
    """Note that a test shows what a section demands; one test may show several."""

    def mark(test: Test) -> Test:
        RULES[test.__name__, rfc, section] = Rule(rfc, section, says, test.__name__, asked_with)
        return test

    return mark
