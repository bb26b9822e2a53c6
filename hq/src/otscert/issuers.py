"""The CA accounts of this HQ: their keys (sealed in the store), their registration, and the zone's CAA records."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from functools import partial

from otscert.acme.account import ExternalAccount
from otscert.acme.errors import ExternalAccountError
from otscert.ca.connect import IssuerSettings, new_account_key
from otscert.ca.errors import CaError
from otscert.ca.issuer import AcmeIssuer
from otscert.config import IssuerConfig
from otscert.pki.seal import Seal
from otscert.process import CannotStart
from otscert.store.accounts import Account
from otscert.store.errors import StoreUnavailable
from otscert.store.opening import Store
from otscert.store.transaction import Transaction

ACCOUNT_KEY = "account key"
_RETRY_S = 30.0
_log = logging.getLogger(__name__)


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
        sealed = seal.close(new_account_key(), purpose=ACCOUNT_KEY)
        account = Account(issuer=issuer.name, directory_url=issuer.directory_url, key_sealed=sealed, url="")
        transaction.accounts.add(account, now_s=int(time.time()))
        return account

    account = await store.write(key_of)
    settings = IssuerSettings(
        name=issuer.name,
        directory_url=issuer.directory_url,
        trust_file=issuer.trust_file,
        contact=issuer.contact,
        eab=_external_account(issuer),
        terms_agreed=issuer.terms_agreed,
        profile=issuer.profile,
        account_url=account.url or None,
    )
    return settings, seal.open(account.key_sealed, purpose=ACCOUNT_KEY)


def _external_account(issuer: IssuerConfig) -> ExternalAccount | None:
    if not issuer.eab_kid:
        return None
    try:
        return ExternalAccount.of(issuer.eab_kid, issuer.eab_hmac_key)
    except ExternalAccountError as error:
        raise CannotStart(f"issuer {issuer.name}: {error}; copy the key again from the CA's page") from error


async def look_up_account(
    issuer: IssuerConfig, ca: AcmeIssuer, store: Store, caa_changed: Callable[[], Awaitable[None]]
) -> None:
    """Find or register the account, keep its URL, and bind the zone's CAA record to it."""
    while True:
        try:
            account = await ca.account()
            identities = (issuer.caa_identity,) if issuer.caa_identity else (await ca.directory()).meta.caa_identities
            values = [f"{name}; accounturi={account.url}; validationmethods=dns-01" for name in identities]
            await store.write(partial(_keep_account, name=issuer.name, url=account.url, caa=values))
            await caa_changed()
        except (CaError, StoreUnavailable) as error:
            hint = f"otscert issuer test {issuer.name} says what to do"
            _log.warning("issuer.no_account", extra={"issuer": issuer.name, "reason": str(error), "hint": hint})
            await asyncio.sleep(_RETRY_S)
            continue
        _log.info("issuer.account", extra={"issuer": issuer.name, "url": account.url, "caa": list(identities)})
        return


def _keep_account(transaction: Transaction, *, name: str, url: str, caa: list[str]) -> None:
    transaction.accounts.set_url(name, url)
    transaction.caa.put(name, caa)
