"""How long to wait before the next try: full jitter, doubling, and HQ's own wish.

Pure arithmetic over a key of the box (saved pool, hardware ids): the jitter must not need a ready random generator,
and a thousand boxes that lost HQ at the same moment must not come back at the same moment.
"""

from __future__ import annotations

import hashlib
import hmac

FIRST_S = 1.0
CAP_S = 3600.0


class Backoff:
    """One row of failures. `reset` after a success."""

    def __init__(self, key: bytes, *, first_s: float = FIRST_S, cap_s: float = CAP_S) -> None:
        self._key = key
        self._first_s = first_s
        self._cap_s = cap_s
        self._failures = 0
        self._draws = 0

    def reset(self) -> None:
        self._failures = 0

    def next_s(self, retry_after_s: float | None = None) -> float:
        """Seconds to wait after one more failure: never less than HQ asked for, never in step with other boxes."""
        ceiling = min(self._cap_s, self._first_s * 2.0 ** min(self._failures, 32))
        self._failures += 1
        if retry_after_s is not None:
            return retry_after_s + self.fraction() * min(ceiling, retry_after_s / 4)
        return self.fraction() * ceiling

    def longest_s(self) -> float:
        """The wait for what only a person can change: between half and all of the cap."""
        return self._cap_s * (0.5 + self.fraction() / 2)

    def fraction(self) -> float:
        """The next number in 0..1 of this box's own sequence."""
        self._draws += 1
        drawn = hmac.new(self._key, b"otscert/v1/jitter%d" % self._draws, hashlib.sha256).digest()
        return int.from_bytes(drawn[:6], "big") / 2**48
