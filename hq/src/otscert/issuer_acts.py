"""What an operator does to an account at a CA: change its key, agree to terms, register one in the place of a lost one.

Works on the store, beside a running HQ, which takes up what has changed when the CA no longer takes what it has
(`ca.registration`). Each act can be killed anywhere and asked for again.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass

from otscert.acme.fault import Remedy, Whose
from otscert.acme.jws import AccountKey
from otscert.ca.account import agree_to_terms, change_key, find
from otscert.ca.client import AcmeClient
from otscert.ca.connect import new_account_key, open_issuer
from otscert.ca.errors import CaError
from otscert.ca.http import HttpSettings
from otscert.config import IssuerConfig
from otscert.issuers import ACCOUNT_KEY, StoredAccount, issuer_settings, new_account
from otscert.pki.seal import Seal
from otscert.service.learning import forget_problem
from otscert.store.accounts import Account
from otscert.store.opening import Store
from otscert.store.transaction import Transaction


class NotPossible(Exception):
    """The account is not in a state for this; the text says why, and what to do instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuerActs:
    """The acts for one issuer. All raise `CaError`, `NotPossible`, `StoreError`."""

    issuer: IssuerConfig
    store: Store
    seal: Seal

    async def roll_over(self, *, by: str, now_s: int) -> str:
        """Give the account another key (RFC 8555 section 7.3.5); returns its URL, which stays the same.

        The next key is on disk before the CA is told of it. After a kill the CA knows one of the two: whoever needs the
        account finds out which, and calling this again goes on with the same next key.
        """
        account = await self._registered()
        if account.next_key_sealed is None:
            sealed = self.seal.close(new_account_key(), purpose=ACCOUNT_KEY)
            await self.store.write(lambda transaction: transaction.accounts.begin_key_change(self.issuer.name, sealed))
            account = await self._registered()
        sealed = account.next_key_sealed or b""
        if not sealed:  # another command, or HQ, has ended the change meanwhile
            return account.url
        old, new = self._key(account.key_sealed), self._key(sealed)
        async with AsyncExitStack() as stack:
            clients = [AcmeClient(self.issuer.directory_url, key, self._http) for key in (old, new)]
            for client in clients:
                stack.push_async_callback(client.aclose)
            await self._tell(account, clients[0], clients[1], new, sealed)

        def end(transaction: Transaction) -> None:
            transaction.accounts.end_key_change(self.issuer.name, sealed)
            data = {"issuer": self.issuer.name, "account": account.url, "by": by}
            transaction.events.append("issuer.key_changed", now_s=now_s, data=data)

        await self.store.write(end)
        return account.url

    async def agree(self, *, by: str, now_s: int) -> str:
        """Tell the CA that its terms, as they are now, are agreed to; returns the account's URL."""
        account = await self._registered()
        client = AcmeClient(self.issuer.directory_url, self._key(account.key_sealed), self._http)
        try:
            await agree_to_terms(client, account.url)
        finally:
            await client.aclose()
        await self._solved("issuer.agreed", {"account": account.url, "by": by}, now_s=now_s)
        return account.url

    async def register(self, *, instead: bool, by: str, now_s: int) -> str:
        """Register the account unless the CA has it; `instead`: another one, with another key, in its place.

        From then on CAA records and the CA's limits are the new account's, and certificates of the old one can neither
        be revoked nor replaced as renewals. Returns the URL.
        """
        before = await self.store.read(lambda transaction: transaction.accounts.get(self.issuer.name))
        if instead and before is not None and before.url:
            fresh = new_account(self.issuer, self.seal)
            data = {"issuer": self.issuer.name, "before": before.url, "by": by}

            def exchange(transaction: Transaction) -> None:
                transaction.accounts.add(fresh, now_s=now_s)
                transaction.events.append("issuer.account_given_up", now_s=now_s, data=data)

            await self.store.write(exchange)
        settings, key = await issuer_settings(self.issuer, self.store, self.seal)
        book = StoredAccount(issuer=self.issuer, store=self.store, seal=self.seal)
        async with open_issuer(settings, key, book=book) as opened:
            url = (await opened.account()).url
        await self._solved("issuer.registered", {"account": url, "by": by}, now_s=now_s)
        return url

    async def _tell(
        self, account: Account, with_old: AcmeClient, with_new: AcmeClient, new: AccountKey, sealed: bytes
    ) -> None:
        """Have the CA know the account under the new key, if it does not yet."""
        known = await find(with_old)
        if known is None or known.url != account.url:
            found = await find(with_new)
            if found is None or found.url != account.url:
                raise NotPossible(
                    f"{self.issuer.name} knows the account {account.url} under neither of its keys:"
                    f" otscert issuer show {self.issuer.name} says what to do about a lost account"
                )
            return
        try:
            await change_key(with_old, account.url, new)
        except CaError as error:
            if error.fault.whose is not Whose.ISSUER and error.fault.remedy is not Remedy.PARK:
                known = await find(with_new)
                if known is not None and known.url == account.url:
                    return  # a request that was sent before a kill, or by another command, came to the CA meanwhile
                # It has said no, so the old key is the account's; without this the next try would offer the same key.
                name = self.issuer.name
                await self.store.write(lambda transaction: transaction.accounts.give_up_key_change(name, sealed))
            raise

    async def _registered(self) -> Account:
        account = await self.store.read(lambda transaction: transaction.accounts.get(self.issuer.name))
        if account is None or not account.url:
            raise NotPossible(
                f"HQ has no account at {self.issuer.name} yet: otscert issuer register {self.issuer.name}"
            )
        if account.directory_url != self.issuer.directory_url:
            raise NotPossible(f"the account of {self.issuer.name} is at {account.directory_url}: see otscert doctor")
        return account

    async def _solved(self, kind: str, data: dict[str, object], *, now_s: int) -> None:
        def write(transaction: Transaction) -> None:
            forget_problem(transaction, self.issuer.name)
            transaction.events.append(kind, now_s=now_s, data={"issuer": self.issuer.name, **data})

        await self.store.write(write)

    def _key(self, sealed: bytes) -> AccountKey:
        return AccountKey.from_pem(self.seal.open(sealed, purpose=ACCOUNT_KEY))

    @property
    def _http(self) -> HttpSettings:
        return HttpSettings(trust_file=self.issuer.trust_file)
