"""Anti-replay nonces (RFC 8555 section 6.5), each good once, the oldest forgotten as Boulder does."""

from __future__ import annotations

import random
import secrets

WINDOW = 65_536


class Nonces:
    """Issues and redeems; `reject_every` N refuses every Nth good one, as a CA's other data centre would.

    `reject_share` refuses good ones by dice: 0.9 is a storm, 1.0 a CA that takes none.
    """

    def __init__(self, reject_every: int, reject_share: float = 0.0, seed: int = 0) -> None:
        self._reject_every, self._reject_share = reject_every, reject_share
        self._dice = random.Random(seed)
        self._redeemed = 0
        self._open: dict[str, None] = {}

    def issue(self) -> str:
        nonce = secrets.token_urlsafe(12)
        self._open[nonce] = None
        if len(self._open) > WINDOW:
            del self._open[next(iter(self._open))]
        return nonce

    def redeem(self, nonce: str) -> bool:
        """Use up `nonce`; False when it is unknown, used already, or its turn to be refused."""
        if nonce not in self._open:
            return False
        del self._open[nonce]
        self._redeemed += 1
        if self._reject_every and self._redeemed % self._reject_every == 0:
            return False
        return not (self._reject_share and self._dice.random() < self._reject_share)
