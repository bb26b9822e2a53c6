"""How the CA behaves: one value, readable from JSON. What is not in here, it does as RFC 8555 says.

`Script` describes the CA; a `Fate` overrides single answers ("the second finalize gets a 503"). `Fates` counts.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal

Resource = Literal[
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
]
Form = Literal["problem", "html", "oversize", "endless", "redirect", "cut", "drop", "compressed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """What happens to some requests to a resource instead of what should.

    `skip` requests pass first, then `times` meet it (None: all). `form` is what comes: a problem document of `type`
    with `status`, `detail` and `subproblems`, or something that no ACME server sends. With `acts`, the request takes
    effect before its answer is lost.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """The behaviour of a scripted CA. `retry_after` is sent on orders that are not final ("3", "date:3", junk)."""

    verify_all: bool = True  # False: only newAccount, newOrder, finalize, revokeCert have their signature checked
    reject_nonce_every: int = 0
    processing_polls: int = 1
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
    eab_keys: dict[str, str] = field(default_factory=dict)  # kid -> MAC key in base64url; any: EAB is required
    profiles: dict[str, int] = field(
        default_factory=lambda: {"classic": 90 * 86400, "tlsserver": 45 * 86400, "shortlived": 160 * 3600}
    )  # name -> validity in s; the first one is the default
    renewal_info: dict[str, Any] | None = None  # what renewalInfo says of every certificate; None: as Boulder
    renewal_retry_after: str | None = "21600"
    leave_out: tuple[str, ...] = ()  # members that the directory lacks
    fates: tuple[Fate, ...] = ()


class Fates:
    """Counts requests per resource and says which fate, if any, the present one meets."""

    def __init__(self, fates: tuple[Fate, ...]) -> None:
        self._fates = fates
        self._seen: Counter[str] = Counter()

    def next(self, resource: str) -> Fate | None:
        self._seen[resource] += 1
        number = self._seen[resource]
        for fate in self._fates:
            if fate.on == resource and number > fate.skip and (fate.times is None or number <= fate.skip + fate.times):
                return fate
        return None
