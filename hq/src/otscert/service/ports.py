"""What the use cases need from outside.

Adapters do not inherit; `app` assigns them and the type checker proves the fit.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol, TypeVar

from otscert.acme.certificate import Chain
from otscert.acme.order import Order as AcmeOrder
from otscert.ca.issuer import Dns01Challenge, Polled, RenewalAdvice
from otscert.domain.addresses import AddressPolicy, IPAddress, Verdict
from otscert.store.transaction import Transaction

T = TypeVar("T")


class Store(Protocol):
    """The store. `write` returns after the commit and undoes `work` alone when it raises; `read` sees commits only."""

    async def write(self, work: Callable[[Transaction], T]) -> T: ...

    async def read(self, work: Callable[[Transaction], T]) -> T: ...


class Clock(Protocol):
    """Wall-clock time. May step; nothing that must not go wrong depends on it alone."""

    def now_ms(self) -> int: ...


class Randomness(Protocol):
    """HQ's CSPRNG."""

    def __call__(self, count: int, /) -> bytes: ...


class AnswerSigner(Protocol):
    """Signs one answer to one request of one key."""

    def sign(self, payload: bytes, *, typ: str, audience: str, request_digest: bytes, now_s: int) -> bytes: ...


class Seal(Protocol):
    """Encrypts single values for the store. `open` raises when the value is not what `close` made for this purpose."""

    def close(self, value: bytes, *, purpose: str) -> bytes: ...

    def open(self, sealed: bytes, *, purpose: str) -> bytes: ...


class Signals(Protocol):
    """Says that something happened. A lost signal only costs time: whoever waits also looks by himself."""

    def publish(self, topic: str) -> None: ...

    def listen(self, *topics: str) -> AbstractContextManager[Callable[[float], Awaitable[None]]]:
        """Listen from now on; awaiting the function returns at a `publish` since then, or after so many seconds."""
        ...


class ZonePublisher(Protocol):
    """The zone's content. Every call is idempotent and is answered by this process from when it returns."""

    def activate(self, label: str, addresses: Sequence[IPAddress], policy: AddressPolicy) -> tuple[Verdict, ...]: ...

    def withdraw(self, label: str) -> None: ...

    def put_txt(self, label: str, value: str) -> None: ...

    def drop_txt(self, label: str, value: str) -> None: ...


class Challenger(Protocol):
    """The proving half of a CA account."""

    async def challenges(self, order: AcmeOrder) -> tuple[Dns01Challenge, ...]: ...

    async def answer(self, challenge: Dns01Challenge) -> None: ...


class NameServers(Protocol):
    """All name servers of the zone, as the CA will ask them."""

    async def wait_until_served(self, name: str, values: Iterable[str]) -> str | None:
        """Return None once every server answers all the TXT `values` at `name`, else the reason why not."""


class Issuer(Protocol):
    """One CA account. Every method raises `CaError`, which carries its remedy."""

    async def open_order(
        self, names: Sequence[str], *, profile: str | None = None, replaces: str | None = None
    ) -> AcmeOrder: ...

    async def find_order(self, names: Iterable[str]) -> AcmeOrder | None: ...

    async def order(self, url: str) -> Polled: ...

    async def finalize(self, order: AcmeOrder, csr_der: bytes) -> Polled: ...

    async def chain(self, order: AcmeOrder) -> Chain: ...


class Account(Issuer, Challenger, Protocol):
    """One CA account with both its halves."""


class Revoker(Protocol):
    """The revoking half of a CA account. Raises `CaError`; asked again for a revoked one, the CA says so."""

    async def revoke(self, certificate_der: bytes, reason: int) -> None: ...


class RenewalSource(Protocol):
    """The CA that says when a certificate is to be renewed. Raises `CaError`, also for an answer without a window."""

    async def renewal_info(self, ari_id: str) -> RenewalAdvice: ...
