"""Chains of certificates, stored small: the leaf deflated, what follows it once for the whole fleet.

A CA's intermediates are three quarters of a chain and the same for millions of leaves; base64 is a quarter air.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable
from typing import Any

Execute = Callable[..., Any]
_END = "-----END CERTIFICATE-----\n"


def split(sql: Execute, chain_pem: str) -> tuple[bytes, bytes]:
    """Return what is stored of a chain: its deflated leaf, and the digest under which the rest is found."""
    leaf, end, rest = chain_pem.partition(_END)
    pem = rest if end else ""
    digest = hashlib.sha256(pem.encode("ascii")).digest()
    sql("INSERT INTO issuer_chain (sha256, pem) VALUES (?, ?) ON CONFLICT (sha256) DO NOTHING", (digest, pem))
    return zlib.compress((leaf + end).encode("ascii")), digest


def join(leaf: bytes, issuers_pem: str) -> str:
    """The chain as it was given to `split`, byte for byte."""
    return zlib.decompress(leaf).decode("ascii") + issuers_pem
