"""ACME accounts: one per issuer, the key sealed; a second key while the first one is being changed."""

from __future__ import annotations

from dataclasses import dataclass

from otscert.store.connection import Connection

_COLUMNS = "issuer, directory_url, key_sealed, url, next_key_sealed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    issuer: str
    directory_url: str
    key_sealed: bytes
    url: str
    """Empty until the CA has answered."""
    next_key_sealed: bytes | None = None
    """The key that replaces the other one: the CA knows one of the two (RFC 8555 section 7.3.5)."""


class Accounts:
    def __init__(self, connection: Connection) -> None:
        self._sql = connection.execute

    def get(self, issuer: str) -> Account | None:
        row = self._sql(f"SELECT {_COLUMNS} FROM acme_account WHERE issuer = ?", (issuer,)).fetchone()
        if row is None:
            return None
        return Account(
            issuer=row[0],
            directory_url=row[1],
            key_sealed=row[2],
            url=row[3],
            next_key_sealed=row[4],
        )

    def add(self, account: Account, *, now_s: int) -> None:
        """Keep a new account in the place of the issuer's present one, if there is one."""
        self._sql("DELETE FROM acme_account WHERE issuer = ?", (account.issuer,))
        self._sql(
            f"INSERT INTO acme_account ({_COLUMNS}, created_at_s) VALUES (?, ?, ?, ?, ?, ?)",
            (
                account.issuer,
                account.directory_url,
                account.key_sealed,
                account.url,
                account.next_key_sealed,
                now_s,
            ),
        )

    def set_url(self, issuer: str, url: str) -> None:
        self._sql("UPDATE acme_account SET url = ? WHERE issuer = ?", (url, issuer))

    def begin_key_change(self, issuer: str, next_key_sealed: bytes) -> bool:
        """Keep the next key before the CA is told of it; False when another change is under way already."""
        return (
            self._sql(
                "UPDATE acme_account SET next_key_sealed = ? WHERE issuer = ? AND next_key_sealed IS NULL",
                (next_key_sealed, issuer),
            ).rowcount
            == 1
        )

    def give_up_key_change(self, issuer: str, next_key_sealed: bytes) -> None:
        """The CA does not change the key, and knows the account under the old one."""
        self._sql(
            "UPDATE acme_account SET next_key_sealed = NULL WHERE issuer = ? AND next_key_sealed = ?",
            (issuer, next_key_sealed),
        )

    def end_key_change(self, issuer: str, next_key_sealed: bytes) -> None:
        """The CA knows the account under the next key; asked again it changes nothing."""
        self._sql(
            "UPDATE acme_account SET key_sealed = next_key_sealed, next_key_sealed = NULL"
            " WHERE issuer = ? AND next_key_sealed = ?",
            (issuer, next_key_sealed),
        )
