"""HQ's own TLS and answer certificates while it runs: renewed in time, taken up when they change, missed aloud.

Whoever writes them (this HQ, `otscert hq-root`) replaces files; this looks at the files. Without the root's key nothing
can be renewed here, so an event says so in time.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from functools import partial

from otscert.pki.certificates import KeyPair
from otscert.pki.files import LEAVES, PkiError, PkiFolder
from otscert.pki.pem import lasts
from otscert.service.ports import Clock, Store
from otscert.store.errors import StoreUnavailable
from otscert.store.transaction import Transaction

LOOK_S = 2.0
"""How long a certificate that somebody else installed may lie there unused."""
RENEW_S = 3600.0
"""How long a certificate that is due may wait; the same for a clock of HQ's that was wrong and was set right."""
ENDS = "hq.leaf_ends"
_DAY_S = 86_400
_log = logging.getLogger(__name__)

TakeUp = Callable[[KeyPair], None]


class OwnLeaves:
    """`take_up` is called with the answer pair after a change of either file; it also reloads TLS."""

    def __init__(self, *, pki: PkiFolder, hosts: tuple[str, ...], store: Store, clock: Clock, take_up: TakeUp) -> None:
        self._pki = pki
        self._hosts = hosts
        self._store = store
        self._clock = clock
        self._take_up = take_up
        self._used: list[tuple[int, int] | None] = []

    async def keep(self) -> None:
        """Go on until cancelled."""
        loop = asyncio.get_running_loop()
        next_renewal = loop.time()
        while True:
            if loop.time() >= next_renewal:
                await self.renew()
                next_renewal = loop.time() + RENEW_S
            self.take_up_changes()
            await asyncio.sleep(LOOK_S)

    async def renew(self) -> None:
        """Renew what is due; where that cannot be done and a certificate ends within 60 days, record it."""
        now_s = self._clock.now_ms() // 1000
        try:
            renewed = await asyncio.to_thread(self._pki.renew_leaves, hosts=self._hosts, now_s=now_s)
            ending = self._ending(now_s)
            if ending:
                await self._store.write(partial(_record, ending=ending, now_s=now_s))
        except (PkiError, OSError, StoreUnavailable) as error:
            _log.warning("pki.not_renewed", extra={"reason": str(error)})
            return
        for name in renewed:
            _log.info("pki.renewed", extra={"certificate": name})
        if ending:
            hint = "otscert doctor says what to do"
            _log.warning("pki.leaf_ends", extra={**ending, "hint": hint})

    def take_up_changes(self) -> None:
        """Use the files if they are others than those in use; what cannot be used is tried again."""
        found = self._files()
        if found == self._used:
            return
        try:
            self._take_up(self._pki.answer())
        except (PkiError, OSError, ssl.SSLError) as error:
            _log.warning("pki.not_taken_up", extra={"reason": str(error)})
            return
        self._used = found
        _log.info("pki.taken_up", extra={"generations": [self._pki.generation(name) for name in LEAVES]})

    def _files(self) -> list[tuple[int, int] | None]:
        """Names of the files' present contents: each is replaced by another file, never written into."""
        return [_identity(self._pki, name) for name in LEAVES]

    def _ending(self, now_s: int) -> dict[str, int]:
        pairs = {"tls_ends_s": self._pki.tls(), "answer_ends_s": self._pki.answer()}
        return {
            name: int(pair.certificate.not_valid_after_utc.timestamp())
            for name, pair in pairs.items()
            if not lasts(pair, now_s=now_s)
        }


def _identity(pki: PkiFolder, name: str) -> tuple[int, int] | None:
    try:
        found = (pki.folder / name).stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def _record(transaction: Transaction, *, ending: dict[str, int], now_s: int) -> None:
    last_s = transaction.events.last_s(ENDS)
    if last_s is None or not 0 <= now_s - last_s < _DAY_S:
        transaction.events.append(ENDS, now_s=now_s, data=ending)
