"""What the CA did, in order: the judge of "never two certificates for one CSR, never two finalized orders"."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Kind = Literal["newOrder", "reusedOrder", "finalize", "issued", "revoked", "keyChange"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One act. `spki_sha256` and `serial` are hexadecimal; empty where the act has none. `at` is Unix time in s."""

    kind: Kind
    at: float
    account: str
    order: str
    names: tuple[str, ...]
    spki_sha256: str = ""
    serial: str = ""
    replaces: str | None = None
    profile: str | None = None


class Ledger:
    """The list of entries, and counts: requests per resource, refusals per limit."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self.entries: list[Entry] = []
        self.requests: Counter[str] = Counter()
        self.limited: Counter[str] = Counter()  # refusals per kind of limit

    def write(
        self,
        kind: Kind,
        *,
        account: str,
        order: str,
        names: tuple[str, ...],
        spki_sha256: str = "",
        serial: str = "",
        replaces: str | None = None,
        profile: str | None = None,
    ) -> None:
        self.entries.append(
            Entry(
                kind=kind,
                at=self._clock(),
                account=account,
                order=order,
                names=names,
                spki_sha256=spki_sha256,
                serial=serial,
                replaces=replaces,
                profile=profile,
            )
        )

    def of(self, kind: Kind) -> list[Entry]:
        return [entry for entry in self.entries if entry.kind == kind]
