"""What is compared outside of the transaction and what inside: no order of events lets two keys with one prime in."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator
from pathlib import Path

import gmpy2  # type: ignore[import-untyped]  # has no types
import pytest
from hq.tests.store.rows import hello

from otscert.domain.assurance import Contribution
from otscert.domain.csr import CheckedCsr
from otscert.domain.key_index import KeyIndex
from otscert.service.conversation import DoFirst
from otscert.service.key_checks import MOST_INSIDE, KeyChecks
from otscert.service.refusal import Refusal
from otscert.store.sqlite import SqliteStore
from otscert.store.transaction import Transaction
from tests.harness.rsa_keys import prime

DICE = random.Random(5)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore.open(tmp_path / "hq.db")
    yield store
    await store.close()


def csr(modulus: int | None) -> CheckedCsr:
    digest = hashlib.sha256(str(modulus).encode()).digest()
    index = KeyIndex(spki_sha256=digest, x_coordinate=digest)
    return CheckedCsr(der=b"", sha256=b"", index=index, contribution=Contribution.NONE, modulus=modulus)


def small_modulus() -> int:
    """Quicker to make than a real one, and no prime comes twice."""
    return int(gmpy2.next_prime(DICE.getrandbits(128)) * gmpy2.next_prime(DICE.getrandbits(128)))


async def admit(store: SqliteStore, checks: KeyChecks, modulus: int | None, device_id: str) -> None:
    """One try, as an enrolment makes it: refuse or enter, in one transaction."""

    def work(transaction: Transaction) -> None:
        checks.refuse(transaction, csr(modulus), hello())
        checks.enter(transaction, csr(modulus), device_id=device_id)

    await store.write(work)


async def enter(store: SqliteStore, moduli: list[int]) -> None:
    """Enter keys as if another process had done it."""

    def work(transaction: Transaction) -> None:
        for place, modulus in enumerate(moduli):
            transaction.moduli.add(modulus, spki_sha256=csr(modulus).index.spki_sha256, device_id=f"fleet{place}")

    await store.write(work)


async def count(store: SqliteStore) -> int:
    return len(await store.read(lambda transaction: transaction.moduli.after(0, limit=10_000)))


async def test_a_p256_key_needs_nothing(store: SqliteStore) -> None:
    await admit(store, KeyChecks(store), None, "box")
    assert await count(store) == 0


async def test_an_rsa_key_is_examined_outside_first(store: SqliteStore) -> None:
    checks, modulus = KeyChecks(store), prime() * prime()
    with pytest.raises(DoFirst) as first:
        await admit(store, checks, modulus, "box")
    assert await count(store) == 0
    await first.value.work()
    await admit(store, checks, modulus, "box")
    assert await count(store) == 1


async def test_two_that_were_examined_before_either_was_entered_are_told_apart_inside(store: SqliteStore) -> None:
    p, checks = prime(), KeyChecks(store)
    moduli = [p * prime(), p * prime()]
    for modulus in moduli:
        assert (await checks.examine(modulus)).shared == ()
    # In one group of transactions: the second sees what the first has not committed yet.
    outcomes = await asyncio.gather(
        *(admit(store, checks, modulus, f"box{place}") for place, modulus in enumerate(moduli)), return_exceptions=True
    )
    assert outcomes[0] is None
    assert isinstance(outcomes[1], Refusal)
    assert outcomes[1].event is not None
    kind, holder, data = outcomes[1].event
    assert (kind, holder, data["compromised"]) == (
        "key.shared_factor",
        "box0",
        [csr(moduli[0]).index.spki_sha256.hex()],
    )
    assert await count(store) == 1


async def test_more_new_keys_than_fit_inside_are_compared_outside_again(store: SqliteStore) -> None:
    p, checks = prime(), KeyChecks(store)
    first, second = p * prime(), p * prime()
    for modulus in (first, second):
        await checks.examine(modulus)
    await enter(store, [small_modulus() for _ in range(MOST_INSIDE)])
    await admit(store, checks, first, "box")  # as many as fit
    with pytest.raises(DoFirst) as outside:  # one more
        await admit(store, checks, second, "thief")
    await outside.value.work()
    with pytest.raises(Refusal, match="a prime in common"):
        await admit(store, checks, second, "thief")


async def test_the_one_key_of_a_large_fleet_that_shares_a_prime_is_named(store: SqliteStore) -> None:
    p, fleet = prime(), [small_modulus() for _ in range(700)]
    fleet[411] = p * prime()
    await enter(store, fleet)
    checks = KeyChecks(store)
    examined = await checks.examine(p * prime())
    assert examined.last == 700
    assert [(row.number, row.device_id) for row in examined.shared] == [(412, "fleet411")]
    assert (await checks.examine(prime() * prime())).shared == ()


async def test_every_key_that_shares_a_prime_is_named(store: SqliteStore) -> None:
    p, q, checks = prime(), prime(), KeyChecks(store)
    await enter(store, [p * prime(), small_modulus(), q * prime()])
    await checks.examine(p * q)
    with pytest.raises(Refusal) as refusal:
        await admit(store, checks, p * q, "box")
    assert refusal.value.event is not None
    assert refusal.value.event[2]["devices"] == ["fleet0", "fleet2"]


async def test_a_key_whose_transaction_was_undone_is_no_key_of_the_fleet(store: SqliteStore) -> None:
    p, checks = prime(), KeyChecks(store)
    undone, modulus = p * prime(), p * prime()
    await checks.examine(undone)

    def crash(transaction: Transaction) -> None:
        checks.enter(transaction, csr(undone), device_id="box")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await store.write(crash)
    await checks.examine(modulus)
    await admit(store, checks, modulus, "box")


async def test_a_forgotten_result_is_found_again(store: SqliteStore) -> None:
    checks, moduli = KeyChecks(store, most_remembered=1), [prime() * prime() for _ in range(2)]
    for modulus in moduli:
        await checks.examine(modulus)
    await admit(store, checks, moduli[1], "box1")
    with pytest.raises(DoFirst) as first:
        await admit(store, checks, moduli[0], "box0")
    await first.value.work()
    await admit(store, checks, moduli[0], "box0")


async def test_keys_examined_at_the_same_time_wait_for_each_other(store: SqliteStore) -> None:
    checks = KeyChecks(store)
    await enter(store, [small_modulus() for _ in range(300)])
    found = await asyncio.gather(*(checks.examine(prime() * prime()) for _ in range(4)))
    assert [examined.last for examined in found] == [300] * 4
