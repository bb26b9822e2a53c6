"""What is kept of issuers and of accounts while their key is changed."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from otscert.domain.breaker import Breaker
from otscert.store.accounts import Account
from otscert.store.issuers import AccountProblem, Issuer
from otscert.store.sqlite import SqliteStore
from otscert.store.transaction import Transaction


async def test_an_issuer_that_nothing_is_known_of_is_well_and_what_is_learned_is_kept(store: SqliteStore) -> None:
    assert await store.read(lambda transaction: transaction.issuers.get("ca")) == Issuer(name="ca")
    problem = AccountProblem(kind="terms", reason="new terms", link="https://ca.example/terms", since_s=7)
    breaker = Breaker(failures=3, failing_since_s=5, open_until_s=9, reason="terms")
    learned = Issuer(name="ca", breaker=breaker, last_success_s=4, problem=problem)
    for each in (learned, replace(learned, problem=None), Issuer(name="ca")):
        await store.write(partial(_save, each))
        assert await store.read(lambda transaction: transaction.issuers.get("ca")) == each


async def test_a_key_change_is_begun_once_and_ends_with_the_key_that_it_began_with(store: SqliteStore) -> None:
    account = Account(issuer="ca", directory_url="https://ca", key_sealed=b"old", url="https://ca/1")
    await store.write(lambda transaction: transaction.accounts.add(account, now_s=1))
    assert await store.write(lambda transaction: transaction.accounts.begin_key_change("ca", b"new"))
    assert not await store.write(lambda transaction: transaction.accounts.begin_key_change("ca", b"other"))
    await store.write(lambda transaction: transaction.accounts.end_key_change("ca", b"other"))
    kept = await store.read(lambda transaction: transaction.accounts.get("ca"))
    assert kept == replace(account, next_key_sealed=b"new")
    for _ in range(2):
        await store.write(lambda transaction: transaction.accounts.end_key_change("ca", b"new"))
    assert await store.read(lambda transaction: transaction.accounts.get("ca")) == replace(account, key_sealed=b"new")


async def test_a_new_account_takes_the_place_of_the_lost_one(store: SqliteStore) -> None:
    lost = Account(issuer="ca", directory_url="https://ca", key_sealed=b"old", url="https://ca/1")
    fresh = replace(lost, key_sealed=b"new", url="")
    for account in (lost, fresh):
        await store.write(partial(_add, account))
    assert await store.read(lambda transaction: transaction.accounts.get("ca")) == fresh


def _save(issuer: Issuer, transaction: Transaction) -> None:
    transaction.issuers.save(issuer)


def _add(account: Account, transaction: Transaction) -> None:
    transaction.accounts.add(account, now_s=1)
