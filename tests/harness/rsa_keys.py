"""RSA keys by their primes, so that a test can make the ones that must be refused, and CSRs with them."""

from __future__ import annotations

import random

import gmpy2  # type: ignore[import-untyped]  # has no types
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding

_DICE = random.Random()


def prime(bits: int = 1024) -> int:
    """A prime with its two highest bits set, so that two of them make a modulus of full length."""
    return int(gmpy2.next_prime(_DICE.getrandbits(bits) | 3 << bits - 2))


def prime_after(number: int) -> int:
    return int(gmpy2.next_prime(number))


def rsa_key(p: int, q: int) -> rsa.RSAPrivateKey:
    """The key with these primes and the usual exponent."""
    d = pow(65537, -1, (p - 1) * (q - 1))
    numbers = rsa.RSAPrivateNumbers(
        p=p,
        q=q,
        d=d,
        dmp1=rsa.rsa_crt_dmp1(d, p),
        dmq1=rsa.rsa_crt_dmq1(d, q),
        iqmp=rsa.rsa_crt_iqmp(p, q),
        public_numbers=rsa.RSAPublicNumbers(65537, p * q),
    )
    return numbers.private_key()


def rsa_csr(key: rsa.RSAPrivateKey, names: list[str]) -> bytes:
    """A CSR in DER for exactly these names."""
    sans = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).add_extension(sans, critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)
