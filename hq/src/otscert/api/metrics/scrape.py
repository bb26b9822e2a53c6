"""Makes the page for one scrape: asks every part for its numbers, and lets prometheus-client write them down.

What this process counted is always there; what the store holds is left out while it cannot be read, and
`otscert_store_up` says so.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

from cryptography.x509 import Certificate
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from otscert.api.metrics import of_process, of_store
from otscert.api.metrics.families import gauge
from otscert.api.metrics.overview import Overviews
from otscert.api.metrics.page import Page
from otscert.counting import Counts
from otscert.pki.files import PkiError, PkiFolder
from otscert.service.ports import Clock
from otscert.store.errors import StoreUnavailable
from otscert.zones.counters import AnswerCounters
from otscert.zones.notify import Standing

_log = logging.getLogger(__name__)


class NameServer(Protocol):
    """The DNS server as far as it is counted."""

    @property
    def open_connections(self) -> int: ...

    @property
    def unsent(self) -> int: ...


class NumberedZone(Protocol):
    """The zone as far as it is counted."""

    @property
    def counters(self) -> AnswerCounters: ...

    @property
    def serial(self) -> int: ...


class Places(Protocol):
    """The room of the device API."""

    def __len__(self) -> int: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Scraping:
    """Called with an Accept header it returns the page. Only numbers are taken on the loop; the rest is in a thread."""

    clock: Clock
    issuers: Sequence[str]
    counts: Counts
    zone: NumberedZone
    name_server: NameServer | None
    secondaries: Callable[[], Sequence[Standing]]
    """How far the servers of secondaries are."""
    room: Places | None
    """None: this process does not have that role."""
    pki: PkiFolder
    database: Path
    overviews: Overviews
    _process: ProcessCollector = field(default_factory=lambda: ProcessCollector(registry=CollectorRegistry()))

    async def __call__(self, accept: str) -> Page:
        now_s = self.clock.now_ms() // 1000
        families = [
            gauge("build_info", "Always 1; the label names the release.", {(version("otscert"),): 1}, "version")
        ]
        last_issued: dict[str, int] = {}
        try:
            overview = await self.overviews.newest(now_s=now_s)
        except StoreUnavailable as error:
            _log.warning("metrics.store_unavailable", extra={"reason": str(error)})
            families.append(of_store.up(readable=False))
        else:
            families.append(of_store.up(readable=True))
            families += of_store.families(overview, self.overviews.events(), now_s=now_s)
            last_issued.update(overview.last_issued)
        last_issued.update(self.counts.issuances.last_s())
        families += of_process.counted(self.counts, issuers=self.issuers, last_issued=last_issued)
        if self.name_server is not None:
            families += of_process.dns(
                self.zone.counters, connections=self.name_server.open_connections, unsent=self.name_server.unsent
            )
            families += of_process.secondaries(self.zone.serial, self.secondaries())
        if self.room is not None:
            families.append(gauge("device_connections", "Open connections to the device API.", {(): len(self.room)}))
        return await asyncio.to_thread(self._write, families, accept)

    def _write(self, families: list[Metric], accept: str) -> Page:
        encode, kind = choose_encoder(accept)
        collected = (*families, *_files(self.database), _ends(self.pki), *self._process.collect())
        page: bytes = encode(_Collected(collected))
        return page, kind


class _Collected(Collector):
    """What was collected already, in the shape that the encoder wants."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def _files(database: Path) -> Iterator[Metric]:
    sizes: dict[tuple[str, ...], float] = {}
    for word, path in (("database", database), ("wal", database.with_name(f"{database.name}-wal"))):
        try:
            sizes[word,] = path.stat().st_size
        except FileNotFoundError:
            sizes[word,] = 0
        except OSError as error:
            _log.warning("metrics.file_not_seen", extra={"file": str(path), "reason": str(error)})
    yield gauge("database_size_bytes", "Size of SQLite's files.", sizes, "file")
    free: dict[tuple[str, ...], float] = {}
    try:
        free[()] = shutil.disk_usage(database.parent).free
    except OSError as error:
        _log.warning("metrics.disk_not_seen", extra={"reason": str(error)})
    yield gauge("disk_free_bytes", "Space left for HQ's user on the file system of the database.", free)


def _ends(pki: PkiFolder) -> Metric:
    """Certificates of HQ's own; one that cannot be read is left out, and the alert on its absence says so."""
    ends: dict[tuple[str, ...], float] = {}
    readers: dict[str, Callable[[], Certificate]] = {
        "tls": lambda: pki.tls().certificate,
        "answer": lambda: pki.answer().certificate,
        "root": pki.root_certificate,
    }
    for name, read in readers.items():
        try:
            ends[name,] = read().not_valid_after_utc.timestamp()
        except PkiError as error:
            _log.warning("metrics.certificate_not_read", extra={"certificate": name, "reason": str(error)})
    return gauge("hq_certificate_end_timestamp_seconds", "When a certificate of HQ's own ends.", ends, "certificate")
