"""ACME accounts: one per issuer, the key sealed."""

from __future__ import annotations

from dataclasses import dataclass

from otscert.store.connection import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    issuer: str
    directory_url: str
    key_sealed: bytes
    url: str
    """Empty until the CA has answered."""


class Accounts:
    def __init__(self, connection: Connection) -> None:
        self._sql = connection.execute

    def get(self, issuer: str) -> Account | None:
        row = self._sql(
            "SELECT issuer, directory_url, key_sealed, url FROM acme_account WHERE issuer = ?", (issuer,)
        ).fetchone()
        return Account(issuer=row[0], directory_url=row[1], key_sealed=row[2], url=row[3]) if row else None

    def add(self, account: Account, *, now_s: int) -> None:
        self._sql(
            "INSERT INTO acme_account (issuer, directory_url, key_sealed, url, created_at_s) VALUES (?, ?, ?, ?, ?)",
            (account.issuer, account.directory_url, account.key_sealed, account.url, now_s),
        )

    def set_url(self, issuer: str, url: str) -> None:
        self._sql("UPDATE acme_account SET url = ? WHERE issuer = ?", (url, issuer))
