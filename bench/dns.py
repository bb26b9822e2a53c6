"""Our name server beside the others: the same names, the same questions, the same dnsperf, turn and turn about.

The servers have the first core and dnsperf the last. Answers are compared only by their codes (the conformance suite
judges content).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench import dnsperf
from bench.dns_zone import NXDOMAIN_SHARE, SETS, questions
from bench.dnsperf import DnsRound, Load
from bench.name_servers import COMPARED, Server, ours

STEADY_PER_S = 20_000
CHALLENGES_PER_S = 50
WRITTEN = "written"
_COMPUTING = ("ours", "knot")


@dataclass(slots=True, kw_only=True)
class Compared:
    """Rounds of each server at full speed, and ms of each answer at a steady rate, ascending."""

    rounds: dict[str, list[DnsRound]] = field(default_factory=dict)
    steady_ms: dict[str, list[float]] = field(default_factory=dict)


def measure(folder: Path, *, names: int, rounds: int, seconds: int, rate: int | None = None) -> dict[str, Compared]:
    """Ask every set of every server that can answer it, at full speed unless `rate` bounds it (a smoke run)."""
    with _servers(folder, names) as servers:
        loads = {kind: replace(_load(folder, kind, names, seconds), rate=rate) for kind in SETS}
        return {kind: _ask(load, _able(servers, kind), rounds=rounds) for kind, load in loads.items()}


@contextmanager
def _servers(folder: Path, names: int) -> Iterator[dict[str, Server]]:
    with ExitStack() as stack:
        found = {name: stack.enter_context(start(folder, names)) for name, start in COMPARED.items()}
        written = ours(folder, names, name=WRITTEN, challenges_per_s=CHALLENGES_PER_S)
        yield {**found, WRITTEN: stack.enter_context(written)}


def _able(servers: dict[str, Server], kind: str) -> list[Server]:
    return [server for name, server in servers.items() if kind != "computed" or name in _COMPUTING]


def _load(folder: Path, kind: str, names: int, seconds: int) -> Load:
    nxdomain = NXDOMAIN_SHARE if kind == "mixed" else 0.0
    return Load(questions=write_questions(folder, kind, names), seconds=seconds, nxdomain=nxdomain)


def _ask(load: Load, asked: list[Server], *, rounds: int) -> Compared:
    short = replace(load, once=True)
    found = Compared(rounds={server.name: [] for server in asked})
    for server in asked:
        _flood(server, short)
    for turn in range(rounds):
        for server in asked if turn % 2 == 0 else reversed(asked):
            found.rounds[server.name].append(_flood(server, load))
    for server in asked:
        found.steady_ms[server.name] = dnsperf.latencies_ms(server.port, replace(short, rate=STEADY_PER_S))
    return found


def write_questions(folder: Path, kind: str, names: int) -> Path:
    """Write dnsperf's data file of a set of questions."""
    path = folder / f"{kind}.txt"
    path.write_text("\n".join(questions(kind, names)) + "\n", encoding="ascii")
    return path


def _flood(server: Server, load: Load) -> DnsRound:
    return dnsperf.flood(server.name, server.port, [server.child], load)
