from __future__ import annotations

import pytest
from hq.tests.store.rows import certificate, device, fill, order

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
