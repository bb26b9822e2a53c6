"""Writes docs/dns-conformance.md from the marks of the tests: `python -m tests.zone.page`. A test compares them."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from tests.zone.rules import RULES

PAGE = Path(__file__).resolve().parents[2] / "docs" / "dns-conformance.md"
_HEAD = """\
# The zone and the RFCs

Each rule has a test of its own, by name. `make test-zone` runs them all; they are part of `make test`. "Asked with"
says who asks the server: three tools that others wrote (dnspython, BIND's dig, Knot's kdig), whose readings of each
answer are judged alike, or octets on a socket where no tool would send such a message. Written by
`python -m tests.zone.page`; a test compares.

| RFC | section | rule | test | asked with |
|---|---|---|---|---|
"""
_FOOT = """
## What is compared with other name servers

`tests/zone/test_differential.py` gives the same zone to NSD and Knot and puts the same generated questions to all:
rcode, AA, TC, answers with their TTLs and the SOA in the authority section agree, without exception; what is
not asked or not looked at stands at its top. `docs/amplification.md` says how large answers are.
"""


def page() -> str:
    """The page as the tests are now."""
    for path in sorted(Path(__file__).parent.glob("test_rules_of_*.py")):
        importlib.import_module(f"tests.zone.{path.stem}")
    rows = sorted(
        RULES.values(), key=lambda rule: (rule.rfc, [int(part) for part in rule.section.split(".")], rule.test)
    )
    lines = [f"| {row.rfc} | {row.section} | {row.says} | `{row.test}` | {row.asked_with} |\n" for row in rows]
    return _HEAD + "".join(lines) + _FOOT


def main() -> int:
    PAGE.write_text(page(), encoding="ascii")
    return 0


if __name__ == "__main__":
    sys.exit(main())
