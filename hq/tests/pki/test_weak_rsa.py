"""RSA keys that have been found in the field, made again: each is refused, and says what is wrong with it."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import badkeys  # type: ignore[import-untyped]  # has no types
import gmpy2  # type: ignore[import-untyped]  # has no types
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from otscert.pki import weak_rsa

DICE = random.Random(3)


def prime_from(start: int) -> int:
    return int(gmpy2.next_prime(start))


def random_prime(bits: int = 1024) -> int:
    return prime_from(DICE.getrandbits(bits) | 3 << bits - 2)


def neighbours() -> int:
    p = random_prime()
    return p * prime_from(p + (1 << 400))


def infineon() -> int:
    """As the library of CVE-2017-15361 made them: p = k*M + (65537^a mod M), M the product of the first 126 primes."""
    primorial = math.prod(number for number in range(2, 702) if gmpy2.is_prime(number))
    primes: list[int] = []
    while len(primes) < 2:
        candidate = DICE.getrandbits(53) * primorial + pow(65537, DICE.getrandbits(200), primorial)
        if gmpy2.is_prime(candidate):
            primes.append(candidate)
    return primes[0] * primes[1]


def nautilus() -> int:
    """Primes with a few bits in every 128 only."""
    p, q = (prime_from(sum(DICE.randrange(1, 16) << 128 * place for place in range(8))) for _ in range(2))
    return p * q


def many_ones() -> int:
    p = random_prime()
    return p * prime_from(((1 << 2048) - 1) // p)


# In a certificate of 2021 (crt.sh 5534506057): one of its primes is in other public keys, too.
PUBLISHED = int(
    "b504bbdb47631e8058d9e5c40ec30d1a2e86598fc1dfb4f218eead0204099f0780be4e40062dc029a389cc740b9aaa64"
    "cf387ddb3d851f36692a83a2cb812ad2db78276d338053e261d006e667df4dc82d321ca609705c01a523b9909cc98208"
    "0dd10d9da3f7c133e8d0511d5a8cdbd3fe3e48d275221970c90194bbbee600782bdd0da3fc6a98d114886e2926815ecd"
    "5297fa3c0f090259b6fa54108fd623bab308e4af414193d11a6f381369d27b8cd3d8d91a2abcce6c7fa615de5d465ce2"
    "d3415768c174e958988b02a05b6ede7f56420f7674c8567bb9a35a1809df96c394b2868cbad4a440fb342440159a7564"
    "8c27e94caca533d0ff074663bad66ca5",
    16,
)

WEAK: dict[str, Callable[[], int]] = {
    "fermat": neighbours,
    "roca": infineon,
    "rsapoly": nautilus,
    "sharedprimes": lambda: PUBLISHED,
    "smallfactors": lambda: 641 * random_prime(2039),
    "rsabias": many_ones,
    "prime": lambda: random_prime(2048),
}


@pytest.mark.parametrize("check", WEAK)
def test_a_weak_key_is_found_and_named(check: str) -> None:
    found = weak_rsa.weakness(WEAK[check](), 65537)
    assert found is not None
    assert found == (check, weak_rsa.CHECKS.get(check, weak_rsa.PRIME))


def test_odd_exponents_are_found() -> None:
    p, q = random_prime(), random_prime()
    wiener = pow(65537, -1, (p - 1) * (q - 1))
    assert weak_rsa.weakness(p * q, wiener) == ("smalld", weak_rsa.CHECKS["smalld"])
    assert weak_rsa.weakness(p * q, 1) == ("rsainvalid", weak_rsa.CHECKS["rsainvalid"])


@pytest.mark.parametrize("bits", [2048, 3072, 4096])
def test_a_good_key_is_not_called_weak(bits: int) -> None:
    numbers = rsa.generate_private_key(65537, bits).public_key().public_numbers()
    assert weak_rsa.weakness(numbers.n, numbers.e) is None


def test_the_blocklist_is_never_asked_for_and_no_other_check_is_left_out() -> None:
    """It downloads a file, and ends the process without one. `rsawarnings` is about sizes, as the CSR's rule is."""
    ours = set(weak_rsa.CHECKS)
    theirs = {
        name
        for name, check in (badkeys.defaultchecks | badkeys.warningchecks).items()
        if check["type"] in {"rsa", "all"}
    }
    assert theirs - ours == {"blocklist", "rsawarnings"}
    assert ours <= theirs


def test_with_the_extra_nothing_is_missing() -> None:
    assert weak_rsa.missing() is None  # without: test_cli_config_rsa
