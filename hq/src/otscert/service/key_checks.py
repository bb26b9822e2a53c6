"""Is a box's RSA key fit for a certificate? Known weaknesses, and primes that it shares with the fleet's other keys.

Both take milliseconds to a tenth of a second, so they are done in a thread, before the transaction that admits the box.
What was entered meanwhile is compared inside the transaction, where nobody else writes: two keys with one prime that
come together are seen by whichever of them is second. See docs/decisions/0015-rsa-keys.md.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

from otscert.domain.csr import RSA_EXPONENT, CheckedCsr
from otscert.domain.moduli import Bucket, Products, shares_factor
from otscert.pki import weak_rsa
from otscert.service.conversation import DoFirst
from otscert.service.ports import Store
from otscert.service.refusal import Refusal
from otscert.store.hellos import HelloRow
from otscert.store.moduli import FleetModulus
from otscert.store.transaction import Transaction
from otscert_agent.wire.problems import ProblemType

MOST_INSIDE = 32
"""Moduli that are compared inside the transaction: half a millisecond of gcd. More of them: outside, again."""
MOST_REMEMBERED = 1000
"""Keys whose result is kept for the transaction that follows; a forgotten one is examined again."""
_PAGE = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    """What is known of a modulus. `last` is the number of the last one that it was compared with."""

    weakness: tuple[str, str] | None
    last: int
    shared: tuple[FleetModulus, ...]


class KeyChecks:
    """One for the process: holds the products of the fleet's moduli, filled from the store at the first RSA key."""

    def __init__(self, store: Store, *, most_remembered: int = MOST_REMEMBERED) -> None:
        self._store = store
        self._most_remembered = most_remembered
        self._products: Products | None = None
        self._examined: OrderedDict[int, Examined] = OrderedDict()
        self._one_at_a_time = asyncio.Lock()

    def refuse(self, transaction: Transaction, csr: CheckedCsr, row: HelloRow) -> None:
        """Raise `Refusal` for a weak RSA key, `DoFirst` for one that was not examined yet; P-256 keys pass."""
        if csr.modulus is None:
            return
        examined = self._examined.get(csr.modulus)
        newer = [] if examined is None else transaction.moduli.after(examined.last, limit=MOST_INSIDE + 1)
        if examined is None or len(newer) > MOST_INSIDE:
            raise DoFirst(partial(self.examine, csr.modulus))
        if examined.weakness is not None:
            raise _weak(row, *examined.weakness)
        shared = (*examined.shared, *_sharing(newer, csr.modulus))
        if shared:
            raise _shared(row, shared)

    def enter(self, transaction: Transaction, csr: CheckedCsr, *, device_id: str) -> None:
        """Let later keys be compared with this one; belongs into the transaction that enters it into the index."""
        if csr.modulus is not None:
            transaction.moduli.add(csr.modulus, spki_sha256=csr.index.spki_sha256, device_id=device_id)

    async def examine(self, modulus: int) -> Examined:
        """Look for weaknesses and for shared primes in everything that is committed; the result is kept."""
        async with self._one_at_a_time:  # one core at the most, whatever boxes send
            products = await self._caught_up()
            weakness, buckets = await asyncio.to_thread(_look_at, modulus, products)
            shared: list[FleetModulus] = []
            for bucket in buckets:
                rows = await self._store.read(partial(_between, bucket=bucket))
                shared += await asyncio.to_thread(_sharing, rows, modulus)
            examined = Examined(weakness=weakness, last=products.last, shared=tuple(shared))
            self._examined[modulus] = examined
            self._examined.move_to_end(modulus)
            while len(self._examined) > self._most_remembered:
                self._examined.popitem(last=False)
            return examined

    async def _caught_up(self) -> Products:
        """The products of everything that is committed. Only that: what is rolled back must not get in."""
        if self._products is None:
            self._products = Products(number=weak_rsa.long_numbers())
        while rows := await self._store.read(partial(_after, number=self._products.last)):
            moduli = [(row.number, row.modulus) for row in rows]
            self._products = await asyncio.to_thread(_enter, self._products, moduli)
        return self._products


def _enter(products: Products, moduli: Iterable[tuple[int, int]]) -> Products:
    with weak_rsa.beside_other_threads():
        return products.entered(moduli)


def _look_at(modulus: int, products: Products) -> tuple[tuple[str, str] | None, tuple[Bucket, ...]]:
    weakness = weak_rsa.weakness(modulus, RSA_EXPONENT)
    if weakness is not None:
        return weakness, ()
    with weak_rsa.beside_other_threads():
        return None, products.sharing(modulus)


def _after(transaction: Transaction, *, number: int) -> list[FleetModulus]:
    return transaction.moduli.after(number, limit=_PAGE)


def _between(transaction: Transaction, *, bucket: Bucket) -> list[FleetModulus]:
    return transaction.moduli.between(bucket.first, bucket.last)


def _sharing(rows: Iterable[FleetModulus], modulus: int) -> list[FleetModulus]:
    return [row for row in rows if shares_factor(modulus, row.modulus)]


def _weak(row: HelloRow, check: str, meaning: str) -> Refusal:
    return Refusal(
        ProblemType.BAD_CSR,
        f"the CSR's RSA key is weak: {meaning}. Make a new key, with another generator or on P-256",
        event=("key.weak", row.device_id, {"check": check, **_about(row)}),
    )


def _shared(row: HelloRow, shared: tuple[FleetModulus, ...]) -> Refusal:
    """The older keys are as broken as the new one: who has two of them computes both private keys."""
    devices = sorted({other.device_id for other in shared})
    data = {
        **_about(row),
        "new_device": row.device_id,
        "devices": devices,
        "compromised": [other.spki_sha256.hex() for other in shared],
    }
    return Refusal(
        ProblemType.BAD_CSR,
        "the CSR's RSA key has a prime in common with another box's key, so both can be computed: this model's"
        " generator repeats. Make a new key on P-256, which gets HQ's randomness",
        event=("key.shared_factor", shared[0].device_id, data),
    )


def _about(row: HelloRow) -> dict[str, object]:
    return {"model": row.model, "fingerprint": row.fingerprint, "label": row.label}
