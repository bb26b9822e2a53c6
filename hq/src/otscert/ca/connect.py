"""Opens an issuer: settings and account key in, `AcmeIssuer` out. It does not know where either comes from."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from otscert.acme.account import ExternalAccount
from otscert.acme.jws import AccountKey
from otscert.ca.client import AcmeClient
from otscert.ca.http import HttpSettings
from otscert.ca.issuer import AcmeIssuer
from otscert.ca.pacing import Pacing
from otscert.ca.registration import AccountBook, Registration, Unkept
from otscert.counting import Tally


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuerSettings:
    """One CA account. `name` is ours; `contact` holds URIs; `profile` is asked for only where the CA offers it.

    `trust_file` holds PEM roots that replace the system's for this CA. With an `account_url` that account is used and
    never another one registered. `preferred_root` is the common name of the root below which the chain is wanted, where
    the CA offers several. With `dns_persist` that challenge is answered where the CA offers it and the zone has its
    record, under the name `caa_identity` or one of the CA's directory. `contact_url` stands in the User-Agent.
    `connections` bounds the keep-alive pool. `pacing` holds this process to its share of the CA's limits per second.
    """

    name: str
    directory_url: str
    trust_file: Path | None = None
    contact: Sequence[str] = ()
    eab: ExternalAccount | None = None
    terms_agreed: bool = True
    profile: str | None = "tlsserver"
    account_url: str | None = None
    preferred_root: str | None = None
    contact_url: str | None = None
    connections: int = 64
    request_timeout_s: float = 60.0
    pacing: Pacing | None = None
    dns_persist: bool = False
    caa_identity: str = ""


def new_account_key() -> bytes:
    """Return a fresh account key (P-256) as unencrypted PEM; the caller stores it, encrypted or with mode 0600."""
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@asynccontextmanager
async def open_issuer(
    settings: IssuerSettings, account_key_pem: bytes, *, requests: Tally | None = None, book: AccountBook | None = None
) -> AsyncIterator[AcmeIssuer]:
    """Yield the issuer and close its connections afterwards. `requests` counts how they ended, under the name.

    `book` is where the account is kept; without one it is what `settings` and `account_key_pem` say.

    Nothing is sent before its first use, so HQ starts while the CA is down.

    Raises:
        AccountKeyError: when the key is not a P-256 private key in PEM.
    """
    http = HttpSettings(
        trust_file=settings.trust_file,
        contact_url=settings.contact_url,
        connections=settings.connections,
        request_timeout_s=settings.request_timeout_s,
        pacing=settings.pacing,
        count=partial((requests or Tally()).count, settings.name),
    )
    client = AcmeClient(settings.directory_url, AccountKey.from_pem(account_key_pem), http)
    registration = Registration(
        client=client,
        book=book or Unkept(url=settings.account_url, key_pem=account_key_pem),
        connect=lambda key: AcmeClient(settings.directory_url, key, http),
        contact=tuple(settings.contact),
        eab=settings.eab,
        terms_agreed=settings.terms_agreed,
    )
    try:
        yield AcmeIssuer(
            settings.name,
            client,
            registration,
            profile=settings.profile,
            preferred_root=settings.preferred_root,
            dns_persist=settings.dns_persist,
            caa_identity=settings.caa_identity,
        )
    finally:
        await client.aclose()
