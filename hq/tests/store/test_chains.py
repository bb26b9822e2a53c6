from __future__ import annotations

import pytest
from hq.tests.store.rows import certificate, device, fill, order

from otscert.domain.order import OrderState
from otscert.store.certificates import REMEMBERED_S
from otscert.store.sqlite import SqliteStore
from otscert.store.transaction import Transaction

LEAF = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
REST = LEAF.replace("AAAA", "BBBB") + "\n" + LEAF.replace("AAAA", "CCCC")


@pytest.mark.parametrize("chain", [LEAF + REST, LEAF, LEAF.strip(), "", "no PEM at all", f"a comment\n{LEAF}{REST}"])
async def test_a_chain_comes_back_byte_for_byte(store: SqliteStore, chain: str) -> None:
    await store.write(lambda transaction: fill(transaction, device(), order(), certificate(chain_pem=chain)))
    found = await store.read(lambda transaction: transaction.certificates.newest("d1"))
    assert found is not None
    assert found.chain_pem == chain


async def test_what_follows_the_leaf_is_stored_once_for_all(store: SqliteStore) -> None:
    def work(transaction: Transaction) -> None:
        fill(transaction, device())
        for number in range(1, 4):
            chain = LEAF.replace("AAAA", f"AAA{number}") + REST
            fill(transaction, order(number), certificate(number, chain_pem=chain))

    await store.write(work)
    rows = await store.read(
        lambda transaction: transaction._connection.execute("SELECT pem FROM issuer_chain").fetchall()
    )
    assert rows == [(REST,)]


async def test_what_ended_long_ago_is_forgotten_when_the_next_one_comes(store: SqliteStore) -> None:
    def issue(transaction: Transaction, number: int, at_s: int) -> None:
        fill(
            transaction,
            order(number, created_at_s=at_s, state=OrderState.ISSUED),
            certificate(number, issued_at_s=at_s, not_after_s=at_s + 100),
        )
        transaction.revocations.ask(f"{number:064x}", reason=4, now_s=at_s)

    def work(transaction: Transaction) -> list[str]:
        fill(transaction, device(), device(2, id="d2"))
        fill(transaction, order(8, state=OrderState.FAILED), order(9, device_id="d2"), certificate(9, device_id="d2"))
        for number in range(1, 4):
            issue(transaction, number, 1000 * number)
        issue(transaction, 4, 3000 + 101 + REMEMBERED_S)
        return sorted(each.id for each in transaction.orders.page(after_id="", limit=9))

    # The newest of those that ended stays, and so does everything of other devices.
    assert await store.write(work) == ["o3", "o4", "o9"]
    assert await store.read(lambda transaction: transaction.certificates.count("d1")) == 2
