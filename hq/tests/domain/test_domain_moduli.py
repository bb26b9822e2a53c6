"""A shared prime is found wherever it stands, and entering many moduli stays cheap."""

from __future__ import annotations

import math
from collections.abc import Sequence

import gmpy2  # type: ignore[import-untyped]  # has no types
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otscert.domain.moduli import LARGEST, Products, shares_factor

PRIMES = [number for number in range(1000, 20_000) if all(number % each for each in range(2, math.isqrt(number) + 1))]


def moduli(count: int) -> list[tuple[int, int]]:
    """Numbered products of two primes, no prime twice."""
    return [(place + 1, PRIMES[2 * place] * PRIMES[2 * place + 1]) for place in range(count)]


@pytest.mark.parametrize("number", [int, gmpy2.mpz], ids=["int", "mpz"])
@pytest.mark.parametrize("place", [0, 1, 41, 99])
def test_a_shared_prime_names_the_bucket_that_holds_it(number: type[int], place: int) -> None:
    entered = Products(number=number).entered(moduli(100))
    (bucket,) = entered.sharing(PRIMES[2 * place] * PRIMES[-1])
    assert bucket.first <= place + 1 <= bucket.last


def test_two_primes_of_two_moduli_name_both_buckets() -> None:
    entered = Products().entered(moduli(96))  # 64 and 32
    found = entered.sharing(PRIMES[0] * PRIMES[2 * 95])
    assert [(bucket.first, bucket.last) for bucket in found] == [(1, 64), (65, 96)]


def test_both_primes_in_one_bucket_are_found() -> None:
    """The product is then a multiple of the modulus, and the remainder is 0."""
    (bucket,) = Products().entered(moduli(2)).sharing(PRIMES[0] * PRIMES[3])
    assert bucket.product % (PRIMES[0] * PRIMES[3]) == 0


def test_a_modulus_of_its_own_primes_shares_nothing() -> None:
    assert Products().entered(moduli(100)).sharing(PRIMES[-1] * PRIMES[-2]) == ()
    assert Products().sharing(PRIMES[0] * PRIMES[1]) == ()


def test_shares_factor() -> None:
    assert shares_factor(15, 10)
    assert shares_factor(15, 0)
    assert not shares_factor(15, 14)


def test_buckets_are_powers_of_two_up_to_the_largest() -> None:
    ones = [(place, 1) for place in range(1, 3 * LARGEST + 8)]
    entered = Products().entered(ones)
    assert [bucket.count for bucket in entered.buckets] == [LARGEST, LARGEST, LARGEST, 4, 2, 1]
    assert (entered.last, entered.count) == (3 * LARGEST + 7, 3 * LARGEST + 7)
    assert [bucket.first for bucket in entered.buckets[1:]] == [bucket.last + 1 for bucket in entered.buckets[:-1]]


@given(st.lists(st.integers(0, 40), min_size=1, max_size=8))
def test_however_moduli_arrive_the_buckets_are_the_same(batches: Sequence[int]) -> None:
    every = moduli(sum(batches))
    entered, place = Products(), 0
    for size in batches:
        entered = entered.entered(every[place : place + size])
        place += size
    assert entered == Products().entered(every)


def test_who_is_dividing_keeps_his_products() -> None:
    before = Products().entered(moduli(3))
    before.entered(moduli(4)[3:])
    assert before.last == 3
