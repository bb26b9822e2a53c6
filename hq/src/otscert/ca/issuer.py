"""One CA account to order from: each method is one step of RFC 8555 section 7.4, given and returning values.

It keeps no order, waits for nothing, retries nothing (but a refused nonce): the service persists, schedules, decides.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from otscert.acme import members
from otscert.acme.account import Account
from otscert.acme.authorization import Authorization, AuthorizationStatus
from otscert.acme.certificate import Chain, revocation_payload
from otscert.acme.challenge import Challenge, ChallengeStatus, dns01_value, persist_value
from otscert.acme.directory import Directory
from otscert.acme.errors import ChainError
from otscert.acme.fault import Asked, Fault, Remedy
from otscert.acme.order import Order, OrderStatus, new_order_payload
from otscert.acme.renewal_info import RenewalInfo, renewal_info_url
from otscert.ca.answer import Answer
from otscert.ca.client import AcmeClient
from otscert.ca.errors import CaAnswerError, CaError
from otscert.ca.registration import Registration
from otscert.ca.single_flight import SingleFlight
from otscert_agent.wire import b64

MAX_ORDER_PAGES = 200
MAX_ALTERNATES = 8
_LOOK_AT_ONCE = 8
# Boulder: malformed ("JWS verification error") and accountDoesNotExist; others say unauthorized.
_SAID_OF_A_WRONG_KEY = frozenset({"accountDoesNotExist", "malformed", "unauthorized"})
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Polled:
    """An order as just seen, and the seconds after which the CA wants to be asked again (None: it did not say)."""

    order: Order
    retry_after_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RenewalAdvice:
    """When the CA would like a certificate to be renewed, and when it wants to be asked again (None: not said)."""

    info: RenewalInfo
    retry_after_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Dns01Challenge:
    """A TXT value to publish at `_acme-challenge.<name>`; a wildcard's `name` is the base name.

    `persistent`: of dns-persist-01. The value stands at `_validation-persist.<name>` for good, whatever is ordered.
    """

    name: str
    txt_value: str
    url: str
    wildcard: bool
    persistent: bool = False


class AcmeIssuer:
    """Orders, proves, finalizes and fetches with one account; safe for concurrent callers. All raise `CaError`.

    How many orders are in flight is the caller's business. `account` is called once, before the first request that
    needs it; when it fails, the next request calls it again.
    """

    def __init__(
        self,
        name: str,
        client: AcmeClient,
        registration: Registration,
        *,
        profile: str | None = None,
        preferred_root: str | None = None,
        dns_persist: bool = False,
        caa_identity: str = "",
    ) -> None:
        self.name = name
        self._client = client
        self._registration = registration
        self._find_account = SingleFlight(registration.account)
        self._profile = profile
        self._preferred_root = preferred_root
        self._dns_persist = dns_persist
        self._caa_identity = caa_identity
        self._account: Account | None = None

    async def directory(self) -> Directory:
        return await self._client.directory()

    async def account(self) -> Account:
        """Return the account at the CA, looked up (or registered) on first use."""
        if self._account is None:
            self._account = await self._find_account()
        return self._account

    async def open_order(
        self, names: Sequence[str], *, profile: str | None = None, replaces: str | None = None
    ) -> Order:
        """Place an order: of `profile` where the CA offers it, else of the issuer's own where it offers that.

        `replaces` is the ARI id of the certificate that this one follows; sent only to a CA that knows ARI.

        Repeating it after a lost answer may open a second order at a CA that does not reuse them: see `find_order`.
        """
        directory = await self._client.directory()
        profile = next((each for each in (profile, self._profile) if each in directory.meta.profiles), None)
        if directory.renewal_info is None:
            replaces = None
        payload = new_order_payload(names, profile=profile, replaces=replaces)
        asked = Asked.OTHER if replaces is None else Asked.REPLACING_ORDER
        answer = await self._post(directory.new_order, payload, asked)
        document = answer.document()
        if not answer.location:
            raise CaAnswerError("newOrder answered without the order's URL", answer.retry_after_s)
        return Order.parse(answer.location, document)

    async def order(self, url: str) -> Polled:
        """Look at an order."""
        return _polled(url, await self._get(url))

    async def find_order(self, names: Iterable[str]) -> Order | None:
        """Find the newest unfinished order (pending or ready) for exactly `names`; None when there is none.

        Reads the account's list of orders (RFC 8555 section 7.1.2.1). A CA without one (Let's Encrypt returns an
        unfinished order again instead) gives None.
        """
        wanted = frozenset(name.lower() for name in names)
        urls = await self._order_urls()
        for start in range(0, len(urls), _LOOK_AT_ONCE):
            for order in await _all(map(self._listed, urls[start : start + _LOOK_AT_ONCE])):
                unfinished = order is not None and order.status in {OrderStatus.PENDING, OrderStatus.READY}
                if order is not None and unfinished and order.names == wanted:
                    return order
        return None

    async def _listed(self, url: str) -> Order | None:
        """An order of the list; None for one that is gone: that of another box must not end the search, or this one."""
        try:
            return (await self.order(url)).order
        except CaError as error:
            if error.fault.problem is not None and error.fault.problem.status == 404:
                return None
            raise

    async def challenges(self, order: Order) -> tuple[Dns01Challenge, ...]:
        """Return what is still to be proved, one challenge for each pending authorization of `order`.

        Empty when the CA reused authorizations, or when all challenges were answered already: look at the order then.
        """
        authorizations = await _all(map(self._authorization, order.authorizations))
        pending = [each for each in authorizations if each.status is AuthorizationStatus.PENDING]
        account_url, identities = await self._persistent_names()
        found = [self._persistent(each, account_url, identities) or self._dns01(each) for each in pending]
        return tuple(challenge for challenge in found if challenge is not None)

    async def answer(self, challenge: Dns01Challenge) -> None:
        """Tell the CA that the TXT value is published (RFC 8555 section 7.5.1: "an empty JSON body ({})")."""
        await self._post(challenge.url, {})

    async def finalize(self, order: Order, csr_der: bytes) -> Polled:
        """Send the CSR of an order that is `ready`; the remedy POLL means that it is not (any more)."""
        if order.finalize is None:
            raise CaAnswerError(f"the order {order.url} has no finalize URL")
        # Location is not required here (section 7.4), and Pebble sends none since 2.9.
        return _polled(order.url, await self._post(order.finalize, {"csr": b64.encode(csr_der)}, Asked.FINALIZE))

    async def chain(self, order: Order, *, preferred_root: str | None = None) -> Chain:
        """Download the certificate of a `valid` order: the chain below `preferred_root` (a common name) if offered.

        Without one it is the root that the issuer's settings prefer, if any.
        """
        preferred_root = preferred_root or self._preferred_root
        if order.certificate is None:
            raise CaAnswerError(f"the order {order.url} has no certificate URL")
        answer = await self._get(order.certificate)
        default = _chain(answer)
        if preferred_root is None or default.root == preferred_root:
            return default
        # RFC 8555 section 7.4.2: "The server MAY provide one or more link relation header fields ... 'alternate'".
        for url in answer.links("alternate")[:MAX_ALTERNATES]:
            alternate = _chain(await self._get(url))
            if alternate.root == preferred_root and alternate.leaf == default.leaf:
                return alternate
        return default

    async def renewal_info(self, ari_id: str) -> RenewalAdvice:
        """Ask when a certificate is to be renewed (RFC 9773 section 4.1)."""
        directory = await self._client.directory()
        if directory.renewal_info is None:
            raise CaError(Fault(remedy=Remedy.PERMANENT, reason="the CA has no renewalInfo"))
        answer = await self._client.get_unsigned(renewal_info_url(directory.renewal_info, ari_id))
        info = RenewalInfo.parse(answer.document())
        if info is None:
            raise CaAnswerError("the CA's renewalInfo holds no window that can be read", answer.retry_after_s)
        return RenewalAdvice(info=info, retry_after_s=answer.retry_after_s)

    async def revoke(self, certificate_der: bytes, reason: int) -> None:
        """Revoke a certificate of this account; `reason` is a CRLReason code (RFC 5280 section 5.3.1)."""
        directory = await self._client.directory()
        if directory.revoke_cert is None:
            raise CaError(Fault(remedy=Remedy.PERMANENT, reason="the CA has no revokeCert"))
        await self._post(directory.revoke_cert, revocation_payload(certificate_der, reason))

    async def _authorization(self, url: str) -> Authorization:
        return Authorization.parse(url, (await self._get(url)).document())

    async def _persistent_names(self) -> tuple[str, tuple[str, ...]]:
        """The account's URL, and what the CA is called in the zone's records; nothing where none are published."""
        if not self._dns_persist:
            return "", ()
        own = (self._caa_identity,) if self._caa_identity else (await self._client.directory()).meta.caa_identities
        return (await self.account()).url, own

    def _persistent(
        self, authorization: Authorization, account_url: str, identities: Sequence[str]
    ) -> Dns01Challenge | None:
        """The dns-persist-01 challenge, where the CA offers it and takes a name under which the zone has a record."""
        challenge: Challenge | None = authorization.dns_persist
        if challenge is None or authorization.identifier is None or challenge.status is not ChallengeStatus.PENDING:
            return None
        domain = next((each for each in identities if each.lower() in challenge.issuer_domains), None)
        if domain is None:
            return None
        return Dns01Challenge(
            name=authorization.identifier.value.lower(),
            txt_value=persist_value(domain, account_url),
            url=challenge.url or "",
            wildcard=authorization.wildcard,
            persistent=True,
        )

    def _dns01(self, authorization: Authorization) -> Dns01Challenge | None:
        challenge = authorization.dns01
        if challenge is None or authorization.identifier is None:
            offered = ", ".join(sorted({each.type for each in authorization.challenges})) or "nothing"
            reason = f"the CA offers no dns-01 challenge for {authorization.url} (it offers {offered})"
            raise CaError(Fault(remedy=Remedy.PERMANENT, reason=reason))
        if challenge.status is not ChallengeStatus.PENDING:
            return None
        return Dns01Challenge(
            name=authorization.identifier.value.lower(),
            txt_value=dns01_value(challenge.token or "", self._client.key.thumbprint),
            url=challenge.url or "",
            wildcard=authorization.wildcard,
        )

    async def _order_urls(self) -> list[str]:
        """Return the account's order URLs, the last page's last one first (CAs append)."""
        page = (await self.account()).orders
        urls: list[str] = []
        for _ in range(MAX_ORDER_PAGES):
            if page is None:
                break
            answer = await self._get(page)
            urls.extend(members.texts(answer.document(), "orders"))
            page = next(iter(answer.links("next")), None)
        return urls[::-1]

    async def _get(self, url: str) -> Answer:
        return await self._post(url, None)

    async def _post(self, url: str, payload: object, asked: Asked = Asked.OTHER) -> Answer:
        kid, key = (await self.account()).url, self._client.key
        try:
            return await self._client.post(url, payload, kid=kid, asked=asked)
        except CaError as error:
            if not _may_be_the_key(error.fault):
                raise
            # Another request may have found out already, while this one was on its way with the old key.
            if self._client.key is key and not await self._registration.has_changed():
                raise
        # Another process has changed the account's key, or was killed while it did: RFC 8555 has no error for it.
        self._account = None
        kid = (await self.account()).url
        return await self._client.post(url, payload, kid=kid, asked=asked)


def _may_be_the_key(fault: Fault) -> bool:
    name = fault.problem.name if fault.problem is not None else None
    return name in _SAID_OF_A_WRONG_KEY


def _polled(url: str, answer: Answer) -> Polled:
    return Polled(order=Order.parse(url, answer.document()), retry_after_s=answer.retry_after_s)


def _chain(answer: Answer) -> Chain:
    try:
        return Chain.parse(answer.body)
    except ChainError as error:
        raise CaAnswerError(str(error), answer.retry_after_s) from error


async def _all(waits: Iterable[Awaitable[T]]) -> list[T]:
    """Await all together, and only when all have ended raise the first error: no request is left running alone."""
    results = await asyncio.gather(*waits, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return [result for result in results if not isinstance(result, BaseException)]
