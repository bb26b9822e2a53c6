"""Is an RSA key one of the known weak kinds? The only file that knows `badkeys` and `gmpy2`, the extra `otscert[rsa]`.

badkeys (https://github.com/badkeys/badkeys) is pinned: its page says that its functions may change with any release.
Its blocklist is never asked for: the check downloads 60 MB, and ends the process when the file is not there.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from importlib.util import find_spec

CHECKS = {
    "fermat": "its two primes are too close together (Fermat's method finds them)",
    "roca": "it has the pattern of a broken chip library (ROCA, CVE-2017-15361)",
    "rsainvalid": "its values cannot be an RSA key's",
    "rsapoly": "its modulus has a pattern of zeros that lets it be factored as a polynomial",
    "sharedprimes": "one of its primes is in keys that were published before",
    "smalld": "its private exponent is too small (Wiener's attack)",
    "smallfactors": "its modulus has a small prime factor",
    "rsabias": "its modulus has far too many zeros or ones",
}
"""badkeys' checks by its own names, and what each finds. `blocklist` must not be here: see above."""
PRIME = "its modulus is a prime"


def missing() -> str | None:
    """What to do before RSA keys can be checked; None when it can be done."""
    if find_spec("badkeys") is None or find_spec("gmpy2") is None:
        return "RSA keys are checked by badkeys and gmpy2, which are not installed: pip install 'otscert[rsa]'"
    return None


def weakness(modulus: int, exponent: int) -> tuple[str, str] | None:
    """Return the check that found this key weak and what that means, None when none did. Takes about a millisecond."""
    import badkeys  # type: ignore[import-untyped]  # noqa: PLC0415 - an extra, and a tenth of a second to import
    import gmpy2  # type: ignore[import-untyped]  # noqa: PLC0415 - the same extra

    found = badkeys.checkrsa(modulus, e=exponent, checks=list(CHECKS))
    for check, meaning in CHECKS.items():
        if check in found:
            return check, meaning
    # Of no interest to badkeys: phi(N) is N - 1, and the signature still verifies.
    return ("prime", PRIME) if gmpy2.is_prime(modulus, 1) else None


def long_numbers() -> Callable[[int], int]:
    """Make numbers that divide hundreds of times faster than Python's when they are long; for `domain.moduli`."""
    from gmpy2 import mpz  # noqa: PLC0415 - the same extra

    return mpz  # type: ignore[no-any-return]  # gmpy2 has no types


def beside_other_threads() -> AbstractContextManager[object]:
    """Let other threads run during each operation on such numbers in the block (a millisecond each, 70 of them)."""
    import gmpy2  # noqa: PLC0415 - the same extra

    return gmpy2.context(allow_release_gil=True)  # type: ignore[no-any-return]  # gmpy2 has no types
