"""The sections about the two databases: a million boxes in each, and what a certificate costs HQ on each.

Knows targets and words. `million` fills and asks, `databases` starts what is asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Protocol

from bench import crowd, million, start
from bench.databases import DATABASES
from bench.figures import Figure, Section, median, percentile
from tests.harness.postgresql import DURABLE, run_postgres

MOST_MS = 50
MOST_KB = 2
START_S = 10
START_MB = 600
IN_FLIGHT = 200
_TABLES = 8


class Size(Protocol):
    @property
    def million(self) -> int: ...

    @property
    def database_wave(self) -> int: ...


def million_section(folder: Path, size: Size) -> list[Section]:
    """A fleet in each database, and the questions that must not become slower with it."""
    return [_million(folder, size, name) for name in DATABASES]


def _million(folder: Path, size: Size, name: str) -> Section:
    found, begun = _fill_and_ask(folder / name, size, name)
    questions = [
        Figure(name=f"{question}, p99", value=percentile(times, 99), unit="ms", limit=MOST_MS)
        for question, times in found.ms.items()
    ]
    medians = [Figure(name=f"{question}, p50", value=median(times), unit="ms") for question, times in found.ms.items()]
    figures = (
        *(figure for pair in zip(medians, questions, strict=True) for figure in pair),
        Figure(name="database per box", value=found.bytes_each / 1000, unit="kB", limit=MOST_KB),
        Figure(name="start of HQ to its first answer by DNS", value=begun.answer_s, unit="s", limit=START_S),
        Figure(name="memory then", value=begun.resident_mb, unit="MB", limit=START_MB),
        Figure(name="memory at its peak until then", value=begun.peak_mb, unit="MB"),
    )
    return Section(
        name=f"million-{name.lower()}",
        title=f"{found.devices} boxes in {name}",
        how="Each box as its first boot and a check-in leave it: keys, name, an issued order, a certificate with a leaf"
        f" of 970 bytes, two events; one order in a hundred is due. {million.ASKS} questions of each kind, one after"
        " the other, through the store as HQ asks it; those that write wait for the disk. Then HQ"
        f" starts on it ({begun.roles}) and is asked for a box's name until it answers.",
        figures=figures,
        details={"start": asdict(begun), "fill_s": found.fill_s, "bytes_each": found.bytes_each, "ms": found.ms},
        profile=tuple(
            f"{size_bytes / found.devices:8.0f} bytes a box with its indexes: {table}"
            for table, size_bytes in found.by_table[:_TABLES]
        ),
    )


def _fill_and_ask(folder: Path, size: Size, name: str) -> tuple[million.Found, start.Start]:
    folder.mkdir()
    with DATABASES[name](folder) as database:
        found = asyncio.run(_ask(database, size))
        return found, start.measure(folder, database_url=database.url, label=million.label_of(1))


async def _ask(database: million.Database, size: Size) -> million.Found:
    try:
        return await million.measure(database, devices=size.million)
    finally:
        await database.store.close()


def databases_section(folder: Path, size: Size) -> list[Section]:
    """The wave at 200 orders in flight, with HQ on each database."""

    def wave(database_url: str, number: int) -> crowd.WaveResult:
        return crowd.run_wave(
            folder / f"wave{number}",
            boxes=size.database_wave,
            workers=crowd.WORKERS,
            at_once=size.database_wave,
            in_flight=IN_FLIGHT,
            database_url=database_url,
        )

    with run_postgres(DURABLE) as server:
        found = {"SQLite": wave("", 1), "PostgreSQL": wave(server.create_database(), 2)}
    cpu = {name: result.hq_cpu_ms for name, result in found.items()}
    return [
        Section(
            name="databases",
            title=f"A certificate on each database, {IN_FLIGHT} orders in flight",
            how=f"The wave of {size.database_wave} boxes at the scripted CA with one HQ process of all roles; CPU of"
            " that process alone. PostgreSQL is on the same two cores and waits for the disk.",
            figures=(
                *(Figure(name=f"HQ's CPU per certificate, {name}", value=ms, unit="ms") for name, ms in cpu.items()),
                Figure(name="PostgreSQL to SQLite", value=cpu["PostgreSQL"] / cpu["SQLite"], unit="x"),
                *(
                    Figure(name=f"certificates per second, {name}", value=result.per_s, unit="/s")
                    for name, result in found.items()
                ),
                Figure(name="boxes lost", value=sum(result.lost for result in found.values()), unit="", limit=0),
            ),
            details={name: asdict(result) for name, result in found.items()},
        )
    ]


SECTIONS: Mapping[str, Callable[[Path, Size], list[Section]]] = {
    "million": million_section,
    "databases": databases_section,
}
