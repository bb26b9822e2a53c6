"""Whom an operator may have meant who has typed a serial number or a label wrong.

Looked at is what stands next to the text in the order of the indexes, so that a fleet of any size costs the same. So a
wrong first character is not mended: nothing near it is right.
"""

from __future__ import annotations

import difflib

from otscert.cli import show
from otscert.store.transaction import Transaction

_LOOKED_AT = 20
_SUGGESTED = 3
_LIKE_ENOUGH = 0.7


def did_you_mean(transaction: Transaction, text: str) -> str:
    """The question that belongs behind "there is no such box", or nothing."""
    near: set[str] = set()
    for typed in {text, text.upper(), text.lower()}:
        near |= transaction.devices.near(typed, each=_LOOKED_AT)
    found = difflib.get_close_matches(text, sorted(near), n=_SUGGESTED, cutoff=_LIKE_ENOUGH)
    return f" did you mean {' or '.join(map(show.printable, found))}?" if found else ""
