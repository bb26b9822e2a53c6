"""One new RSA key against a fleet of RSA keys: weaknesses, shared primes, and what the event loop notices of it."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import rsa

from bench.errors import BenchError
from bench.figures import percentile
from otscert.domain.csr import RSA_EXPONENT
from otscert.pki import weak_rsa
from otscert.service.key_checks import KeyChecks
from otscert.store.sqlite import SqliteStore
from otscert.store.transaction import Transaction

BITS = 2048
_PAGE = 1000
_TICK_S = 0.001


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyFigures:
    """Milliseconds; `fill_ms` is the first key of a process, which reads the fleet's moduli from the store."""

    moduli: int
    fill_ms: float
    examine_ms: list[float]
    cpu_ms: float
    """CPU of the whole process for each of them, the timer below included."""
    loop_late_ms: float
    """How late a timer of the event loop fired while keys were examined (p99)."""
    quiet_late_ms: float
    """The same while nothing was done: what this machine does to every timer."""
    known_weakness_ms: list[float]
    products_mb: float


def measure(folder: Path, *, moduli: int, keys: int) -> KeyFigures:
    """Fill a store with moduli and examine new keys as HQ does; one more shares a prime and must be found."""
    return asyncio.run(_measure(folder / "keys.db", moduli=moduli, keys=keys))


async def _measure(path: Path, *, moduli: int, keys: int) -> KeyFigures:
    dice = random.Random(1)
    store = SqliteStore.open(path)
    try:
        shared = rsa.generate_private_key(RSA_EXPONENT, BITS)
        await _fill(store, dice, moduli=moduli, hidden=_modulus(shared))
        checks = KeyChecks(store)
        began_s = time.perf_counter()
        first = await checks.examine(_new_modulus())
        fill_ms = (time.perf_counter() - began_s) * 1000
        if first.last != moduli:
            raise BenchError(f"{first.last} of {moduli} moduli were compared")
        news = [_new_modulus() for _ in range(keys)]
        quiet_late_ms = await _lateness_ms(asyncio.sleep(1))
        times: list[float] = []
        before_s = time.process_time()
        loop_late_ms = await _lateness_ms(_examine_all(checks, news, times))
        cpu_ms = (time.process_time() - before_s) * 1000 / keys
        related = shared.private_numbers().p * rsa.generate_private_key(RSA_EXPONENT, BITS).private_numbers().q
        if len((await checks.examine(related)).shared) != 1:
            raise BenchError("a shared prime was not found")
        return KeyFigures(
            moduli=moduli,
            fill_ms=fill_ms,
            examine_ms=times,
            cpu_ms=cpu_ms,
            loop_late_ms=loop_late_ms,
            quiet_late_ms=quiet_late_ms,
            known_weakness_ms=[_known_weakness_ms(modulus) for modulus in news],
            products_mb=moduli * BITS / 8 / 1e6,
        )
    finally:
        await store.close()


async def _fill(store: SqliteStore, dice: random.Random, *, moduli: int, hidden: int) -> None:
    """Odd numbers of the right length: as long to divide as moduli are, without a day of looking for primes."""
    numbers = [dice.getrandbits(BITS) | 1 << (BITS - 1) | 1 for _ in range(moduli)]
    numbers[moduli // 3] = hidden
    for start in range(0, moduli, _PAGE):

        def enter(transaction: Transaction, start: int = start) -> None:
            for place, number in enumerate(numbers[start : start + _PAGE], start):
                transaction.moduli.add(number, spki_sha256=place.to_bytes(32, "big"), device_id=f"d{place}")

        await store.write(enter)


async def _examine_all(checks: KeyChecks, moduli: list[int], times: list[float]) -> None:
    for modulus in moduli:
        began_s = time.perf_counter()
        examined = await checks.examine(modulus)
        times.append((time.perf_counter() - began_s) * 1000)
        if examined.weakness is not None or examined.shared:
            raise BenchError("a good key was called bad")


async def _lateness_ms(work: Coroutine[None, None, None]) -> float:
    task = asyncio.create_task(work)
    late_s = [0.0]
    while not task.done():
        began_s = time.perf_counter()
        await asyncio.sleep(_TICK_S)
        late_s.append(time.perf_counter() - began_s - _TICK_S)
    await task
    return percentile(sorted(late_s), 99) * 1000


def _known_weakness_ms(modulus: int) -> float:
    began_s = time.perf_counter()
    weak_rsa.weakness(modulus, RSA_EXPONENT)
    return (time.perf_counter() - began_s) * 1000


def _new_modulus() -> int:
    return _modulus(rsa.generate_private_key(RSA_EXPONENT, BITS))


def _modulus(key: rsa.RSAPrivateKey) -> int:
    return key.public_key().public_numbers().n
