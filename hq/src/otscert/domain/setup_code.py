"""The setup code on a box's label: what its owner types at HQ to prove that the box is his. The box never sends it.

Knows its form and its hash (docs/protocol.md, "Admission"). HQ keeps the hash only; the code is on the label.
Does not know who may type it, or how often.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re

RANDOM_BYTES = 8
"""Of which 60 bits are used."""
LENGTH = 12
HASH_BYTES = 32
_LABEL = b"otscert/v1/setup"
# Not to stop somebody who can try 2^60 codes, but to make every try cost a millisecond and 1 MB, on paper too.
_COST = {"n": 1024, "r": 8, "p": 1, "dklen": HASH_BYTES}
_CODE = re.compile(rf"[A-Z2-7]{{{LENGTH}}}")
# RFC 4648 base32 has no 0, 1 and 8, so whoever types one of them has misread a letter.
_MISREAD = str.maketrans("018", "OIB", " -\u2010\u2011\u2013\t")


def make(randomness: bytes) -> str:
    """A code from `RANDOM_BYTES` random bytes, without hyphens."""
    if len(randomness) != RANDOM_BYTES:
        raise ValueError(f"a setup code needs {RANDOM_BYTES} random bytes")
    return base64.b32encode(randomness).decode("ascii")[:LENGTH]


def shown(code: str) -> str:
    """As it stands on the label: XXXX-XXXX-XXXX."""
    return "-".join(code[start : start + 4] for start in range(0, LENGTH, 4))


def parse(text: str) -> str | None:
    """Read what a person typed, in any case and with any hyphens; None when it cannot be a setup code."""
    if len(text) > 4 * LENGTH:
        return None
    code = text.upper().translate(_MISREAD)
    return code if _CODE.fullmatch(code) else None


def hash_code(code: str, *, model: str, serial: str) -> bytes:
    """The hash that the manifest carries, of a code without hyphens. Takes milliseconds: not for the event loop."""
    salt = b"\x00".join((_LABEL, model.encode(), serial.encode()))
    return hashlib.scrypt(code.encode("ascii"), salt=salt, **_COST)


def matches(typed: str, *, model: str, serial: str, setup_hash: bytes) -> bool:
    """Whether a person typed the setup code of this unit."""
    code = parse(typed)
    return code is not None and hmac.compare_digest(hash_code(code, model=model, serial=serial), setup_hash)
