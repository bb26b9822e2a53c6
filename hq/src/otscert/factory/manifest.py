"""A manifest: what HQ is told of a batch of stamped units. Public keys and hashes only, signed by the factory's key.

JSON Lines: a header, one row a unit, a signature over all bytes before it (docs/factory.md has the form). Knows how it
is written; `reading` judges what came. Does not know where units are kept.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any, Protocol

from otscert_agent.wire import b64
from otscert_agent.wire.factory import FactoryPublic
from otscert_agent.wire.keys import Signer

VERSION = 1
MOST_UNITS = 100_000
"""In one manifest: they are entered in one transaction, and meanwhile HQ waits with everything that it writes."""
_SIGNED = b"otscert/v1/manifest\x00"


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """The first line. `key` is the raw Ed25519 public key that signs; `made_at` is RFC 3339, for people."""

    model: str
    batch: str
    count: int
    made_at: str
    key: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One unit."""

    serial: str
    short_id: str
    public: FactoryPublic
    setup_hash: bytes


class Sink(Protocol):
    """A file to write to."""

    def write(self, data: bytes, /) -> Any: ...


class ManifestWriter:
    """Writes line by line and signs at the end, so a batch of any size needs no memory."""

    def __init__(self, file: Sink, header: Header) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self._line(
            {
                "otscert_manifest": VERSION,
                "model": header.model,
                "batch": header.batch,
                "count": header.count,
                "made_at": header.made_at,
                "key": b64.encode(header.key),
            }
        )

    def add(self, row: Row) -> None:
        self._line(
            {
                "serial": row.serial,
                "short_id": row.short_id,
                "sign": b64.encode(row.public.sign.raw),
                "seal": b64.encode(row.public.seal),
                "setup": b64.encode(row.setup_hash),
            }
        )

    def sign(self, signer: Signer) -> None:
        """The last line; nothing may be added after it."""
        self._line({"signature": b64.encode(signer.sign(to_be_signed(self._digest.digest())))})

    def _line(self, members: dict[str, Any]) -> None:
        data = json.dumps(members, separators=(",", ":")).encode("ascii") + b"\n"
        self._digest.update(data)
        self._file.write(data)


def to_be_signed(digest: bytes) -> bytes:
    """What the signature is over, from SHA-256 of all bytes before the last line."""
    return _SIGNED + digest
