"""Opens an issuer: settings and account key in, `AcmeIssuer` out. It does not know where either comes from."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from otscert.acme.account import Account, ExternalAccount
from otscert.acme.fault import Fault, Remedy
from otscert.acme.jws import AccountKey
from otscert.ca.account import find, register_or_find
from otscert.ca.client import AcmeClient
from otscert.ca.errors import CaError
from otscert.ca.http import HttpSettings
from otscert.ca.issuer import AcmeIssuer
from otscert.counting import Tally


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuerSettings:
    """One CA account. `name` is ours; `contact` holds URIs; `profile` is asked for only where the CA offers it.

    `trust_file` holds PEM roots that replace the system's for this CA. With an `account_url` that account is used and
    never another one registered. `contact_url` stands in the User-Agent. `connections` bounds the keep-alive pool.
    """

    name: str
    directory_url: str
    trust_file: Path | None = None
    contact: Sequence[str] = ()
    eab: ExternalAccount | None = None
    terms_agreed: bool = True
    profile: str | None = "tlsserver"
    account_url: str | None = None
    contact_url: str | None = None
    connections: int = 64
    request_timeout_s: float = 60.0


def new_account_key() -> bytes:
    """Return a fresh account key (P-256) as unencrypted PEM; the caller stores it, encrypted or with mode 0600."""
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@asynccontextmanager
async def open_issuer(
    settings: IssuerSettings, account_key_pem: bytes, *, requests: Tally | None = None
) -> AsyncIterator[AcmeIssuer]:
    """Yield the issuer and close its connections afterwards. `requests` counts how they ended, under the name.

    Nothing is sent before its first use, so HQ starts while the CA is down.

    Raises:
        AccountKeyError: when the key is not a P-256 private key in PEM.
    """
    http = HttpSettings(
        trust_file=settings.trust_file,
        contact_url=settings.contact_url,
        connections=settings.connections,
        request_timeout_s=settings.request_timeout_s,
        count=partial((requests or Tally()).count, settings.name),
    )
    client = AcmeClient(settings.directory_url, AccountKey.from_pem(account_key_pem), http)
    try:
        yield AcmeIssuer(settings.name, client, partial(_account, client, settings), settings.profile)
    finally:
        await client.aclose()


async def _account(client: AcmeClient, settings: IssuerSettings) -> Account:
    if settings.account_url is None:
        return await register_or_find(
            client, contact=settings.contact, eab=settings.eab, terms_agreed=settings.terms_agreed
        )
    known = await find(client)
    if known is None or known.url != settings.account_url:
        # Registering another one silently would break CAA records and limits that name this one.
        reason = f"the CA does not know the account {settings.account_url} under this key any more"
        raise CaError(Fault(remedy=Remedy.ACCOUNT, reason=reason))
    return known
