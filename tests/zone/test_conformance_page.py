"""The page that lists the rules says what the tests say."""

from __future__ import annotations

from tests.zone.page import PAGE, page
from tests.zone.rules import RULES


def test_the_page_lists_the_rules_as_they_are_tested() -> None:
    assert PAGE.read_text(encoding="ascii") == page(), "run: python -m tests.zone.page"
    assert len({rule.test for rule in RULES.values()}) > 45
