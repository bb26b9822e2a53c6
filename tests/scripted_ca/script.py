"""How the CA behaves: one value, readable from JSON. What is not in here, it does as RFC 8555 says.

`Script` describes the CA; a `Fate` overrides single answers ("the second finalize gets a 503"). `Fates` counts.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

Resource = Literal[
    "*",
    "directory",
    "newNonce",
    "newAccount",
    "account",
    "orders",
    "newOrder",
    "order",
    "authorization",
    "challenge",
    "finalize",
    "certificate",
    "revokeCert",
    "renewalInfo",
    "keyChange",
]
Form = Literal[
    "problem",
    "html",
    "oversize",
    "endless",
    "redirect",
    "cut",  # in the middle of its body
    "headless",  # the connection is closed right after the headers
    "drop",  # before the first byte
    "drip",  # what should come, a byte at a time
    "hold",  # nothing, and the connection stays open
    "late",  # what should come, after `delay_s`
    "invalid",  # the order becomes invalid first, for the scripted reason; then what should come
    "compressed",
]
Accounts = Literal["fine", "deactivated", "revoked", "paused"]
Mistake = Literal["", "another key", "other names"]
Exempt = Literal["", "same names", "ari window"]
Limit = tuple[int, float]  # how many at once, and the seconds in which an empty bucket fills again


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """What happens to some requests to a resource instead of what should.

    `skip` requests pass first, then `times` meet it (None: all). `form` is what comes: a problem document of `type`
    with `status`, `detail` and `subproblems`, or something that no ACME server sends. With `acts`, the request takes
    effect before its answer is lost. `on="*"` counts and meets requests to every resource; `share` of those whose turn
    it is meet it, by dice that `Script.seed` makes fall alike in every run. `delay_s` holds the answer back. With a
    `name` only requests about orders that have this name are counted and met.
    """

    on: Resource
    form: Form = "problem"
    status: int = 500
    type: str = "serverInternal"
    detail: str = "as scripted"
    subproblems: tuple[dict[str, Any], ...] = ()
    retry_after: str | None = None
    skip: int = 0
    times: int | None = 1
    acts: bool = False
    share: float = 1.0
    delay_s: float = 0.0
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The CA's limits; None: it has no such limit. `per_second` is (rate, burst) by resource, "" for all others.

    `suffixes` are the public suffixes of more than one label.
    """

    orders_per_account: Limit | None = None
    certificates_per_domain: Limit | None = None
    certificates_per_names: Limit | None = None
    failures_per_name: Limit | None = None
    suffixes: tuple[str, ...] = ()
    per_second: dict[str, tuple[float, int]] = field(default_factory=dict)


LETS_ENCRYPT = Limits(
    orders_per_account=(300, 3 * 3600),
    certificates_per_domain=(50, 7 * 86400),
    certificates_per_names=(5, 7 * 86400),
    failures_per_name=(5, 3600),
    per_second={
        "newNonce": (20, 10),
        "newAccount": (5, 15),
        "newOrder": (300, 200),
        "revokeCert": (10, 100),
        "renewalInfo": (1000, 100),
        "directory": (40, 40),
        "": (250, 125),
    },
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """The behaviour of a scripted CA. `retry_after` is sent on orders that are not final ("3", "date:3", junk)."""

    verify_all: bool = True  # False: only newAccount, newOrder, finalize, revokeCert have their signature checked
    reject_nonce_every: int = 0
    reject_nonce_share: float = 0.0
    seed: int = 0  # of the dice of `reject_nonce_share` and of the fates
    processing_polls: int = 1
    processing_s: float = 0.0  # an order is `processing` for at least that long
    retry_after: str | None = None
    answer_delay_s: float = 0.0
    reuse_orders: bool = True
    reuse_authorizations: bool = False
    list_orders: bool = False
    location_on_finalize: bool = True
    alternates: int = 0
    strange_members: bool = False  # unknown challenge types without token, states, members
    http_urls: bool = False
    validation_problem: dict[str, Any] | None = None  # what every authorization ends with
    dns_patience_s: float = 0.0  # how long it asks a DNS server again that cannot be reached
    eab_keys: dict[str, str] = field(default_factory=dict)  # kid -> MAC key in base64url; any: EAB is required
    profiles: dict[str, int] = field(
        default_factory=lambda: {"classic": 90 * 86400, "tlsserver": 45 * 86400, "shortlived": 160 * 3600}
    )  # name -> validity in s; the first one is the default
    renewal_info: dict[str, Any] | None = None  # what renewalInfo says of every certificate; None: as Boulder
    renewal_retry_after: str | None = "21600"
    leave_out: tuple[str, ...] = ()  # members that the directory lacks
    limits: Limits = field(default_factory=Limits)
    accounts: Accounts = "fine"  # what all accounts are: closed by their owner or the CA, or paused
    terms_changed: bool = False  # newOrder wants a person to agree to new terms
    mistake: Mistake = ""  # what is wrong with the certificates
    fates: tuple[Fate, ...] = ()


class Fates:
    """Counts requests per fate and says which one, if any, the present request meets."""

    def __init__(self, fates: tuple[Fate, ...], seed: int = 0) -> None:
        self._fates = list(fates)
        self._dice = random.Random(seed)
        self._seen = [0] * len(fates)

    def add(self, *fates: Fate) -> None:
        """Let these be met too, from now on."""
        self._fates.extend(fates)
        self._seen.extend([0] * len(fates))

    def next(self, resource: str, names: Callable[[], frozenset[str]] = frozenset) -> Fate | None:
        """The fate of a request; `names` gives those of the order that it is about, and is called where one counts."""
        met = None
        for number, fate in enumerate(self._fates):
            if fate.on not in {resource, "*"} or (fate.name and fate.name not in names()):
                continue
            self._seen[number] += 1
            if met is None and self._meets(fate, self._seen[number]):
                met = fate
        return met

    def _meets(self, fate: Fate, seen: int) -> bool:
        turn = seen - fate.skip
        its_turn = turn > 0 and (fate.times is None or turn <= fate.times)
        return its_turn and (fate.share >= 1 or self._dice.random() < fate.share)
