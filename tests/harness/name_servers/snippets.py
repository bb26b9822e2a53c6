"""Configurations of name servers as docs/own-dns.md has them for makers, so that tests run what makers copy."""

from __future__ import annotations

import re
from pathlib import Path

DOC_ZONE = "boxes.example.com"
DOC_SECRET = "c2VjcmV0IG9mIHRoaXJ0eS10d28gb2N0ZXRzLCBtYWRlIQ=="  # noqa: S105 - an example of a page
_PAGE = Path(__file__).parents[3] / "docs" / "own-dns.md"


def snippet(name: str) -> str:
    """The code block of the page whose first line is a comment with this file name."""
    for block in re.findall(r"^```[a-z]*\n(.*?)^```", _PAGE.read_text(), flags=re.MULTILINE | re.DOTALL):
        if re.match(rf"(#|//|;) {re.escape(name)}\n", block):
            return str(block)
    raise LookupError(f"{_PAGE.name} has no block that begins with a comment {name}")


def zone_file(zone: str, more: str = "") -> str:
    """The zone as the page has it before HQ has written into it, and more lines."""
    return snippet("zone.db").replace(DOC_ZONE, zone) + more
