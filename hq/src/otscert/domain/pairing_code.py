"""The pairing code: what a waiting box shows on its page and a person types at HQ. It lives for minutes.

Knows its form. Does not know who may type it, or how often (`service.approval`), nor how long it lives.
"""

from __future__ import annotations

import base64
import re

RANDOM_BYTES = 5
LENGTH = 8
_CODE = re.compile(rf"[A-Z2-7]{{{LENGTH}}}")
# RFC 4648 base32 has no 0, 1 and 8, so whoever types one of them has misread a letter.
_MISREAD = str.maketrans("018", "OIB", " -\u2010\u2011\u2013\u00a0\t")


def make(randomness: bytes) -> str:
    """A code from `RANDOM_BYTES` random bytes."""
    if len(randomness) != RANDOM_BYTES:
        raise ValueError(f"a pairing code needs {RANDOM_BYTES} random bytes")
    return base64.b32encode(randomness).decode("ascii")


def parse(text: str) -> str | None:
    """Read what a person typed, in any case, with spaces and hyphens; None when it cannot be a pairing code."""
    if len(text) > 4 * LENGTH:
        return None
    code = text.strip().upper().translate(_MISREAD)
    return code if _CODE.fullmatch(code) else None
