"""What every use case knows about this HQ: its models, its zone, its clock and dice. Values only; no state."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field

from otscert.domain.admission import Model
from otscert.domain.limits import NONE_KNOWN, Limits
from otscert.domain.quota import Quota
from otscert.service.ports import Clock, Randomness

ALONE = "hq"
"""The name of the one process on a store that others cannot share: what it leased before a restart is still its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hq:
    """`tokens` are the claim tokens by model; `issuers` are what orders are placed at, in order of preference.

    `secret` is known to this HQ alone: it names things that must not be guessed back from the store.
    """

    public_url: str
    zone: str
    models: Mapping[str, Model]
    tokens: Mapping[str, tuple[bytes, ...]]
    issuers: tuple[str, ...]
    checkin_s: int
    hellos_per_address: Quota
    hellos_per_model: Quota
    orders_per_device: Quota
    open_admissions: Quota
    """New boxes of all models together by the policy open."""
    stale_s: int
    """A box that did not call for so long leaves DNS."""
    secret: bytes
    clock: Clock
    randomness: Randomness
    limits: Mapping[str, Limits] = field(default_factory=dict)
    """What each issuer's CA allows; nothing is known of one that is missing."""
    public_suffix: bool | None = None
    """Whether CAs take the zone for a public suffix; None: as the Public Suffix List has it."""
    other_issuers: frozenset[str] = frozenset()
    """Issuers that can be asked beside `issuers`: for a model that names them, and for what they issued."""
    process: str = ALONE
    """Which of the processes that share the store this is."""

    def issuers_of(self, model: Model | None) -> tuple[str, ...]:
        """The issuers of a model's certificates, the preferred one first; never none."""
        return (model.issuers if model is not None else ()) or self.issuers

    @property
    def known_issuers(self) -> frozenset[str]:
        return self.other_issuers.union(self.issuers)

    def limits_of(self, issuer: str) -> Limits:
        return self.limits.get(issuer, NONE_KNOWN)

    def now_s(self) -> int:
        return self.clock.now_ms() // 1000

    def jitter(self) -> float:
        """A number in [0, 1) to spread things with."""
        return int.from_bytes(self.randomness(4), "big") / 2**32


def names_secret(store_key: bytes) -> bytes:
    """`Hq.secret`, for those who look at the store beside a running HQ."""
    return hmac.digest(store_key, b"otscert/v1/names", "sha256")
