"""Everything the CA holds, in memory: accounts, orders, authorizations, certificates. No behaviour beyond look-ups."""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from tests.scripted_ca.buckets import TokenBuckets
from tests.scripted_ca.dns_check import TxtResolver
from tests.scripted_ca.http import Response
from tests.scripted_ca.ledger import Ledger
from tests.scripted_ca.nonces import Nonces
from tests.scripted_ca.pki import Issuance
from tests.scripted_ca.problems import AcmeProblem
from tests.scripted_ca.script import Exempt, Fates, Script


@dataclass(slots=True, kw_only=True, eq=False)
class Account:
    """`open_orders` finds an unfinished order again by profile and names."""

    url: str
    number: int
    key: ec.EllipticCurvePublicKey
    thumbprint: str
    contact: list[str]
    eab_kid: str | None = None
    status: str = "valid"
    orders: list[Order] = field(default_factory=list)
    open_orders: dict[tuple[str, frozenset[str]], Order] = field(default_factory=dict)
    authorizations: dict[tuple[str, bool], Authorization] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True, eq=False)
class Authorization:
    """One name (without `*.`) of one account; `orders` are those that wait for it."""

    number: int
    account: Account
    name: str
    wildcard: bool
    token: str
    status: str = "pending"
    answered: bool = False
    error: dict[str, Any] | None = None
    orders: list[Order] = field(default_factory=list)


@dataclass(slots=True, kw_only=True, eq=False)
class Order:
    """`polls_left` counts down while the order is `processing`, which it is until `done_at` at least.

    The certificate exists from finalize on. `exempt` says which limits of the CA it does not count against.
    """

    number: int
    account: Account
    names: tuple[str, ...]
    authorizations: list[Authorization]
    profile: str
    replaces: str | None
    expires: str
    status: str = "pending"
    exempt: Exempt = ""
    polls_left: int = 0
    done_at: float = 0.0
    certificate: int | None = None
    error: dict[str, Any] | None = None


@dataclass(slots=True, kw_only=True, eq=False)
class Issued:
    """A certificate and to whom it went."""

    certificate: x509.Certificate
    order: Order
    revoked: int | None = None


@dataclass(slots=True, kw_only=True)
class Signed:
    """A request whose envelope was checked: `payload` is None for POST-as-GET, `account` None for a new key."""

    url: str
    path: list[str]
    payload: dict[str, Any] | None
    jwk: dict[str, Any] | None
    account: Account | None

    def who(self) -> Account:
        if self.account is None:
            raise AcmeProblem("malformed", "this resource wants a kid")
        return self.account

    def members(self) -> dict[str, Any]:
        if self.payload is None:
            raise AcmeProblem("malformed", "this resource wants a payload")
        return self.payload


class State:
    """The CA's memory. `dns` is None when no challenge is looked at (each is taken as passed).

    `clock` gives Unix time in s; certificates, windows and limits go by it.
    """

    def __init__(
        self, script: Script, base_url: str, dns: TxtResolver | None, clock: Callable[[], float] = time.time
    ) -> None:
        self.clock = clock
        self.script = script
        self.base_url = base_url
        self.dns = dns
        self.fates = Fates(script.fates, script.seed)
        self.nonces = Nonces(script.reject_nonce_every, script.reject_nonce_share, script.seed)
        self.ledger = Ledger(clock)
        self.buckets = TokenBuckets()
        self.held = asyncio.Event()  # set when a request met the fate `hold`
        self.issuance = Issuance(script.alternates)
        self.accounts: dict[str, Account] = {}  # by thumbprint
        self.accounts_by_url: dict[str, Account] = {}
        self.orders: list[Order] = []
        self.authorizations: list[Authorization] = []
        self.issued: list[Issued] = []
        self.by_serial: dict[int, Issued] = {}
        self.by_ari_id: dict[str, Issued] = {}
        self.names_issued: set[frozenset[str]] = set()
        self.replacing: dict[str, list[Order]] = {}  # by the ARI id that they replace
        self.windows: dict[str, dict[str, Any]] = {}  # by ARI id, "" for all: what the CA says instead of its own
        self._tasks: set[asyncio.Task[None]] = set()

    def now(self) -> dt.datetime:
        return dt.datetime.fromtimestamp(self.clock(), dt.UTC)

    def in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def end(self) -> None:
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def json_response(document: dict[str, Any], status: int = 200, headers: tuple[tuple[str, str], ...] = ()) -> Response:
    return Response(
        status=status, headers=[("Content-Type", "application/json"), *headers], body=msgspec.json.encode(document)
    )


def numbered(text: str, things: list[Any]) -> Any:
    """Return the thing with this number in a URL, or answer 404."""
    if not text.isdigit() or len(text) > 9 or int(text) >= len(things):
        raise AcmeProblem("malformed", "there is no such resource", 404)
    return things[int(text)]
