"""The CA accounts of this HQ: their keys (sealed in the store), their registration, and the zone's CAA records."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial

from otscert.acme.account import ExternalAccount
from otscert.acme.challenge import DNS_01, DNS_PERSIST_01, persist_value
from otscert.acme.errors import ExternalAccountError
from otscert.acme.jws import AccountKey
from otscert.ca.connect import IssuerSettings, new_account_key, open_issuer
from otscert.ca.errors import CaError
from otscert.ca.issuer import AcmeIssuer
from otscert.ca.pacing import Pacing
from otscert.ca.registration import Known
from otscert.config import IssuerConfig
from otscert.counting import Tally
from otscert.domain.breaker import ACCOUNT_REST_S
from otscert.pki.seal import Seal
from otscert.process import CannotStart
from otscert.service.learning import forget_problem, learn_fault
from otscert.service.ports import Clock
from otscert.store.accounts import Account
from otscert.store.errors import StoreUnavailable
from otscert.store.opening import Store
from otscert.store.transaction import Transaction

ACCOUNT_KEY = "account key"
_RETRY_S = 30.0
_PROVED = frozenset({"lost", "refused"})
"""What is over once the CA shows the account."""
_log = logging.getLogger(__name__)


async def nothing_to_show() -> None:
    """For commands: the zone is another process's, which reads the records itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredAccount:
    """The account of one issuer as the store has it; `caa_changed` has the zone show what was written."""

    issuer: IssuerConfig
    store: Store
    seal: Seal
    caa_changed: Callable[[], Awaitable[None]] = nothing_to_show

    async def read(self) -> Known:
        """Raises `CaError` never, `StoreError` when the row is gone: it is made when HQ starts."""
        account = await self.store.read(lambda transaction: transaction.accounts.get(self.issuer.name))
        if account is None:
            raise StoreUnavailable(f"the account of the issuer {self.issuer.name} is gone from the store")
        sealed = [each for each in (account.key_sealed, account.next_key_sealed) if each is not None]
        return Known(url=account.url or None, keys=tuple(self._open(each) for each in sealed))

    async def keep(self, url: str, key_pem: bytes, caa_identities: tuple[str, ...]) -> None:
        """Persist what the CA has said, and have DNS allow this account before it is asked for a certificate."""
        name = self.issuer.name
        identities = (self.issuer.caa_identity,) if self.issuer.caa_identity else caa_identities
        # RFC 8657 4: a method that is not listed is refused by the CA.
        methods = f"{DNS_01},{DNS_PERSIST_01}" if self.issuer.dns_persist else DNS_01
        values = [f"{each}; accounturi={url}; validationmethods={methods}" for each in identities] or [""]
        persist = [persist_value(each, url) for each in identities] if self.issuer.dns_persist else []
        thumbprint = AccountKey.from_pem(key_pem).thumbprint

        def write(transaction: Transaction) -> None:
            account = transaction.accounts.get(name)
            if account is None:
                return
            sealed = account.next_key_sealed
            if sealed is not None and AccountKey.from_pem(self._open(sealed)).thumbprint == thumbprint:
                transaction.accounts.end_key_change(name, sealed)
            if account.url != url:
                transaction.accounts.set_url(name, url)
            transaction.caa.put(name, values)
            transaction.persist.put(name, persist)

        await self.store.write(write)
        await self.caa_changed()
        if not identities:
            hint = (
                f"set issuer.{name}.caa_identity: without it the zone has no CAA records, and any CA may issue for it"
            )
            _log.warning("issuer.no_caa", extra={"issuer": name, "hint": hint})

    def _open(self, sealed: bytes) -> bytes:
        return self.seal.open(sealed, purpose=ACCOUNT_KEY)


async def issuer_settings(issuer: IssuerConfig, store: Store, seal: Seal) -> tuple[IssuerSettings, bytes]:
    """The settings and the account key of an issuer; the key is made and stored (sealed) on first use."""

    def key_of(transaction: Transaction) -> Account:
        account = transaction.accounts.get(issuer.name)
        if account is not None and account.directory_url == issuer.directory_url:
            return account
        if account is not None:
            raise CannotStart(
                f"issuer {issuer.name} has an account at {account.directory_url}, not at {issuer.directory_url}:"
                " give the new CA another name"
            )
        account = new_account(issuer, seal)
        transaction.accounts.add(account, now_s=int(time.time()))
        return account

    account = await store.write(key_of)
    return settings_of(issuer, account), seal.open(account.key_sealed, purpose=ACCOUNT_KEY)


def new_account(issuer: IssuerConfig, seal: Seal) -> Account:
    """An account with a fresh key, which the CA does not know yet."""
    sealed = seal.close(new_account_key(), purpose=ACCOUNT_KEY)
    return Account(issuer=issuer.name, directory_url=issuer.directory_url, key_sealed=sealed, url="")


def settings_of(issuer: IssuerConfig, account: Account) -> IssuerSettings:
    return IssuerSettings(
        name=issuer.name,
        directory_url=issuer.directory_url,
        trust_file=issuer.trust_file,
        contact=issuer.contact,
        eab=_external_account(issuer),
        terms_agreed=issuer.terms_agreed,
        profile=issuer.profile,
        account_url=account.url or None,
        pacing=Pacing(issuer.limits.per_second),
        preferred_root=issuer.preferred_root,
        dns_persist=issuer.dns_persist,
        caa_identity=issuer.caa_identity,
    )


def _external_account(issuer: IssuerConfig) -> ExternalAccount | None:
    if not issuer.eab_kid:
        return None
    try:
        return ExternalAccount.of(issuer.eab_kid, issuer.eab_hmac_key)
    except ExternalAccountError as error:
        raise CannotStart(f"issuer {issuer.name}: {error}; copy the key again from the CA's page") from error


async def open_issuers(
    issuers: Iterable[IssuerConfig],
    store: Store,
    seal: Seal,
    *,
    requests: Tally,
    caa_changed: Callable[[], Awaitable[None]],
    pacings: list[Pacing],
    stack: AsyncExitStack,
) -> dict[str, AcmeIssuer]:
    """Open all issuers, by name; nothing is asked of them yet. Raises `CannotStart` and `StoreError`.

    `pacings` is filled with what holds this process to its share of each CA's limits per second.
    """
    opened = {}
    for issuer in issuers:
        settings, key = await issuer_settings(issuer, store, seal)
        if settings.pacing is not None:
            pacings.append(settings.pacing)
        book = StoredAccount(issuer=issuer, store=store, seal=seal, caa_changed=caa_changed)
        opened[issuer.name] = await stack.enter_async_context(open_issuer(settings, key, requests=requests, book=book))
    return opened


async def look_up_account(name: str, ca: AcmeIssuer, store: Store, clock: Clock) -> None:
    """Find or register the account, so that the zone's CAA records allow it; what the CA says is learned."""
    while True:
        try:
            account = await ca.account()
            await store.write(lambda transaction: _well(transaction, name))
        except CaError as error:
            now_s = clock.now_ms() // 1000
            await _learn(store, partial(learn_fault, name=name, fault=error.fault, names=(), now_s=now_s))
            hint = f"otscert issuer show {name} says what to do"
            _log.warning("issuer.no_account", extra={"issuer": name, "reason": str(error), "hint": hint})
        except StoreUnavailable as error:
            _log.warning("issuer.no_account", extra={"issuer": name, "reason": str(error)})
        else:
            _log.info("issuer.account", extra={"issuer": name, "url": account.url})
            return
        for _ in range(int(ACCOUNT_REST_S / _RETRY_S)):
            await asyncio.sleep(_RETRY_S)
            if not await _needs_person(store, name):
                break


def _well(transaction: Transaction, name: str) -> None:
    problem = transaction.issuers.get(name).problem
    if problem is not None and problem.kind in _PROVED:
        forget_problem(transaction, name)


async def _learn(store: Store, work: Callable[[Transaction], None]) -> None:
    try:
        await store.write(work)
    except StoreUnavailable as error:
        _log.warning("issuer.not_written_down", extra={"reason": str(error)})


async def _needs_person(store: Store, name: str) -> bool:
    try:
        return await store.read(lambda transaction: transaction.issuers.get(name).problem is not None)
    except StoreUnavailable:
        return False
