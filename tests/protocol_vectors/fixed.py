"""Values that look random and are the same at every run: keys, scalars, bytes, each from its label."""

from __future__ import annotations

import hashlib

from cryptography.hazmat.primitives.asymmetric import ec

from otscert_agent.wire import point
from otscert_agent.wire.keys import Signer


def octets(label: str, length: int) -> bytes:
    return hashlib.shake_128(b"OTS Cert test vectors: " + label.encode()).digest(length)


def scalar(label: str) -> int:
    return point.scalar_from_bytes(octets(label, 48))


def p256(label: str) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(scalar(label), ec.SECP256R1())


def ed25519(label: str) -> Signer:
    return Signer.from_seed(octets(label, 32))


class Dice:
    """HQ's randomness in a recorded conversation: one stream, in the order in which HQ asks."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._drawn = 0

    def __call__(self, count: int) -> bytes:
        self._drawn += 1
        return octets(f"{self._label} {self._drawn}", count)
