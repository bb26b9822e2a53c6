"""Does a new RSA modulus share a prime with one of the fleet's? One division by it asks a thousand of them.

Two boxes whose generators repeat make moduli with a common prime, and then anybody who sees both computes both private
keys (Heninger, Durumeric, Wustrow, Halderman: Mining Your Ps and Qs, 2012). One gcd with the product of many moduli
finds it: gcd(N, P mod N).

Buckets hold 2^k moduli in the order of their numbers, and two neighbours of one size become one, as in a log-structured
merge tree: entering a modulus costs a few multiplications. A bucket ends at `LARGEST`, because a larger one saves
nothing (the division costs what the product is long) and would make a merge slow. Values only; knows no store.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

LARGEST = 1024
"""Moduli in a full bucket: 256 KiB of product for 2048-bit keys, divided in under a millisecond."""
Number = Callable[[int], int]
"""Makes the numbers that are multiplied: `int`, or something that reckons faster with long ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """The product of the moduli numbered `first` to `last`, `count` of them."""

    first: int
    last: int
    count: int
    product: int

    def joined(self, later: Bucket) -> Bucket:
        return Bucket(
            first=self.first,
            last=later.last,
            count=self.count + later.count,
            product=self.product * later.product,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Products:
    """All moduli up to number `last`. A value: who enters moduli gets another one, who is dividing keeps his."""

    number: Number = int
    buckets: tuple[Bucket, ...] = ()

    @property
    def last(self) -> int:
        """The highest number that is in; 0 when nothing is."""
        return self.buckets[-1].last if self.buckets else 0

    @property
    def count(self) -> int:
        return sum(bucket.count for bucket in self.buckets)

    def entered(self, moduli: Iterable[tuple[int, int]]) -> Products:
        """Enter numbered moduli, which come in ascending order and after everything that is in."""
        buckets = list(self.buckets)
        for number, modulus in moduli:
            buckets.append(Bucket(first=number, last=number, count=1, product=self.number(modulus)))
            while len(buckets) > 1 and buckets[-2].count == buckets[-1].count < LARGEST:
                later = buckets.pop()
                buckets[-1] = buckets[-1].joined(later)
        return replace(self, buckets=tuple(buckets))

    def sharing(self, modulus: int) -> tuple[Bucket, ...]:
        """Return the buckets in which some modulus has a factor in common with this one."""
        divisor = self.number(modulus)
        halvings = _halvings(divisor, bits=max((bucket.product.bit_length() for bucket in self.buckets), default=0))
        remainders = [_remainder(bucket.product, divisor, halvings) for bucket in self.buckets]
        together = self.number(1)
        for remainder in remainders:
            together = together * remainder % divisor
        if not shares_factor(modulus, int(together)):  # nearly always: one gcd for all
            return ()
        pairs = zip(self.buckets, remainders, strict=True)
        return tuple(bucket for bucket, remainder in pairs if shares_factor(modulus, int(remainder)))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Halving:
    """How a number is made about half as long with the same remainder: high * 2^shift + low, 2^shift reduced."""

    shift: int
    mask: int
    power: int


def _halvings(divisor: int, *, bits: int) -> list[_Halving]:
    found, one = [], divisor // divisor
    while bits > 4 * divisor.bit_length():
        shift = bits // 2
        found.append(_Halving(shift=shift, mask=(one << shift) - 1, power=pow(one * 2, shift, divisor)))
        bits = bits - shift + divisor.bit_length() + 1
    return found


def _remainder(product: int, divisor: int, halvings: Iterable[_Halving]) -> int:
    """`product % divisor`; multiplying by what the halvings prepared takes three quarters of the division's time."""
    for halving in halvings:
        if product.bit_length() > halving.shift:
            product = (product >> halving.shift) * halving.power + (product & halving.mask)
    return product % divisor


def shares_factor(modulus: int, other: int) -> bool:
    """Whether the two have a common factor; a modulus shares all of itself with its own multiples, 0 included."""
    return math.gcd(modulus, other) != 1
