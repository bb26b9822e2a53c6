"""Which account an issuer speaks for, and with which key: found, registered once, and looked at again when in doubt.

Another process may have changed the key or registered a new account meanwhile; and a key change that was cut off by a
kill leaves two keys of which the CA knows one. Where both are kept is the `AccountBook`'s.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from otscert.acme.account import Account, ExternalAccount
from otscert.acme.jws import AccountKey
from otscert.ca.account import find, lost, register_or_find
from otscert.ca.client import AcmeClient


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is kept of an account: its URL (None: not registered), and the PEM of its key; of two while it changes."""

    url: str | None
    keys: tuple[bytes, ...]


class AccountBook(Protocol):
    """Where one account is kept."""

    async def read(self) -> Known: ...

    async def keep(self, url: str, key_pem: bytes, caa_identities: tuple[str, ...]) -> None:
        """The CA knows the account `url` under this key, and is called `caa_identities` in CAA records."""


@dataclass(slots=True, kw_only=True)
class Unkept:
    """An account that nobody keeps: of a test, or of a command that only asks."""

    url: str | None
    key_pem: bytes

    async def read(self) -> Known:
        return Known(url=self.url, keys=(self.key_pem,))

    async def keep(self, url: str, key_pem: bytes, caa_identities: tuple[str, ...]) -> None:
        del key_pem, caa_identities
        self.url = url


@dataclass(slots=True, kw_only=True)
class Registration:
    """Finds the account for `client`, whose key it exchanges; `connect` opens a client like it with another key."""

    client: AcmeClient
    book: AccountBook
    connect: Callable[[AccountKey], AcmeClient]
    contact: tuple[str, ...]
    eab: ExternalAccount | None
    terms_agreed: bool
    url: str | None = None

    async def account(self) -> Account:
        """Return the account; registered now when there never was one.

        Raises:
            CaError: remedy ACCOUNT when the CA does not know an account that there was: registering another one
                silently would break CAA records and limits that name the first.
        """
        known = await self.book.read()
        if known.url is None:
            self.client.key = AccountKey.from_pem(known.keys[0])
            account = await register_or_find(
                self.client, contact=self.contact, eab=self.eab, terms_agreed=self.terms_agreed
            )
            pem = known.keys[0]
        else:
            account, pem = await self._found(known.url, known.keys)
        await self.book.keep(account.url, pem, (await self.client.directory()).meta.caa_identities)
        self.url = account.url
        return account

    async def has_changed(self) -> bool:
        """Whether another account or key is kept than the one that is used here."""
        known = await self.book.read()
        keys = [AccountKey.from_pem(pem).thumbprint for pem in known.keys]
        return keys != [self.client.key.thumbprint] or known.url != self.url

    async def _found(self, url: str, keys: tuple[bytes, ...]) -> tuple[Account, bytes]:
        for pem in keys:
            key = AccountKey.from_pem(pem)
            account = await self._ask(key)
            if account is not None and account.url == url:
                self.client.key = key
                return account, pem
        raise lost(url)

    async def _ask(self, key: AccountKey) -> Account | None:
        if key.thumbprint == self.client.key.thumbprint:
            return await find(self.client)
        # Requests that are under way sign with the key of `client`: it is not exchanged before the CA has said which.
        other = self.connect(key)
        try:
            return await find(other)
        finally:
            await other.aclose()
