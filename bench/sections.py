"""The sections of a run: each measures one row group of the table and says what its numbers mean.

Knows targets (the project's design sets them) and sizes. How a thing is measured is in its own module.
"""

from __future__ import annotations

import json
import pstats
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench import boot, clients, crowd, dns_sections, floor, keys, stores
from bench.child import Child, own_environment
from bench.figures import Figure, Section, Verdict, median, percentile

FLOOR_S = 120.0
_PROFILE_LINES = 25
_CHECKOUT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much is done; `QUICK` only shows that everything runs."""

    boots: int
    wave: int
    sequential: int
    floor: int
    dns_names: int
    dns_rounds: int
    dns_seconds: int
    dns_rate: int | None
    """Questions a second at most; None: as many as are answered."""
    challenges: int
    api_seconds: int
    client_runs: int
    moduli: int
    new_keys: int
    million: int
    database_wave: int
    wait_for_steady: bool


FULL = Size(
    boots=50,
    wave=500,
    sequential=50,
    floor=300,
    dns_names=10_000,
    dns_rounds=5,
    dns_seconds=2,
    dns_rate=None,
    challenges=200,
    api_seconds=6,
    client_runs=5,
    moduli=100_000,
    new_keys=30,
    million=1_000_000,
    database_wave=400,
    wait_for_steady=True,
)
QUICK = Size(
    boots=1,
    wave=4,
    sequential=1,
    floor=2,
    dns_names=100,
    dns_rounds=1,
    dns_seconds=1,
    dns_rate=2_000,
    challenges=3,
    api_seconds=1,
    client_runs=1,
    moduli=300,
    new_keys=2,
    million=2_000,
    database_wave=4,
    wait_for_steady=False,
)


def boot_section(folder: Path, size: Size) -> list[Section]:
    """Boxes one after the other; the first one stays on until it has become small."""
    with boot.plant(folder) as plant:
        lasting, _ = boot.boot(plant, 0)
        try:
            before = boot.hq_cpu_ms(plant.hq)
            results = boot.boots(plant, range(1, size.boots + 1))
            hq_ms = (boot.hq_cpu_ms(plant.hq) - before) / len(results)
            steady = boot.steady_mb(lasting.process.pid) if size.wait_for_steady else None
        finally:
            lasting.stop()
    times = sorted(result.ms for result in results)
    steps = boot.median_steps(results)
    figures = (
        Figure(name="boot to verified HTTPS, p50", value=statistics.median(times), unit="ms", limit=600),
        Figure(name="boot to verified HTTPS, p95", value=percentile(times, 95), unit="ms", limit=1000),
        Figure(name="boot to verified HTTPS, slowest", value=times[-1], unit="ms"),
    )
    return [
        Section(
            name="boot",
            title=f"Boot to HTTPS: {len(results)} real agent processes, one after the other",
            how="Pebble at full speed (5 % of good nonces rejected, half of the authorizations reused); from the start"
            " of the agent's process until a TLS client that knows only the CA's root and HQ's DNS server has verified"
            " its page.",
            figures=figures,
            details={"ms": times, "median_step_ms": steps, "hq_cpu_ms_per_certificate": hq_ms},
            profile=_missed(figures, lambda: _step_lines(steps, statistics.median(times))),
        ),
        _agent_section(folder, results, steady),
    ]


def _agent_section(folder: Path, results: list[boot.Boot], steady: float | None) -> Section:
    figures = [
        Figure(name="memory at the peak of a first boot", value=max(r.peak_mb for r in results), unit="MB", limit=42),
        Figure(name="CPU of a whole first boot, p50", value=median([r.cpu_s for r in results]), unit="s", limit=0.4),
        Figure(name="wheel", value=_wheel_kb(folder), unit="kB"),
    ]
    if steady is not None:
        figures.insert(1, Figure(name="memory when steady", value=steady, unit="MB", limit=30))
    return Section(
        name="agent",
        title="The agent on its box",
        how="Of the same boots: VmHWM and CPU time of the process when it was verified; VmRSS after the first check-in,"
        " when the process has replaced itself by its small image. 1 MB is 10^6 bytes.",
        figures=tuple(figures),
        details={"peak_mb": [r.peak_mb for r in results], "cpu_s": [r.cpu_s for r in results], "steady_mb": steady},
    )


def _wheel_kb(folder: Path) -> float:
    target = folder / "wheel"
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(target)],
        cwd=_CHECKOUT / "agent",
        env=own_environment(),
        check=True,
        capture_output=True,
    )
    return next(target.glob("*.whl")).stat().st_size / 1000


def wave_section(folder: Path, size: Size) -> list[Section]:
    """The wave, HQ's CPU under it and one box after the other, and the floor under both."""
    rush = crowd.run_wave(folder / "wave", boxes=size.wave, workers=crowd.WORKERS, at_once=size.wave)
    queue = crowd.run_wave(folder / "sequential", boxes=size.sequential, workers=1, at_once=1)
    floors = _floors(folder / "floor", size)
    two_names = floors["2 names, 64 at once"]["cpu_ms"]
    figures = (
        Figure(name="certificates per second", value=rush.per_s, unit="/s", limit=60, at_least=True),
        Figure(name="boxes lost", value=rush.lost + queue.lost, unit="", limit=0),
        Figure(name="box switched on to verified handshake, p50", value=rush.p50_s, unit="s"),
        Figure(name="box switched on to verified handshake, p95", value=rush.p95_s, unit="s"),
        Figure(name="CPU per certificate of the boxes, the stranger included", value=rush.boxes_cpu_ms, unit="ms"),
        Figure(name="CPU per certificate of HQ", value=rush.hq_cpu_ms, unit="ms"),
        Figure(name="CPU per certificate of the CA", value=rush.ca_cpu_ms, unit="ms"),
    )
    cpu = (
        Figure(name="HQ's CPU per certificate in the wave", value=rush.hq_cpu_ms, unit="ms", limit=5),
        Figure(name="HQ's CPU per certificate, one box after the other", value=queue.hq_cpu_ms, unit="ms"),
        *(Figure(name=f"bare loop, {name}", value=each["cpu_ms"], unit="ms") for name, each in floors.items()),
        Figure(
            name="HQ in the wave to the bare loop (2 names, 64 at once)", value=rush.hq_cpu_ms / two_names, unit="x"
        ),
    )
    return [
        Section(
            name="wave",
            title=f"The wave: {rush.boxes} boxes at once",
            how="The agent's own protocol code in 2 processes (threads), HQ, and the scripted CA, which looks up every"
            " challenge in HQ's DNS; all on the same cores. From the common start until a client that knows only the"
            " CA's root has verified the handshake. The boxes' folders are in memory (a box has its own flash), HQ's"
            " database is on disk.",
            figures=figures,
            details={"wave": asdict(rush), "sequential": asdict(queue)},
            profile=_missed((*figures, *cpu), lambda: _wave_profile(folder, size)),
        ),
        Section(
            name="hq-cpu",
            title="HQ's own CPU per certificate",
            how="User and system time of the HQ process, device API, store, DNS and worker together. The floor is an"
            " asyncio loop of the benchmark's own (aiohttp, ES256) that orders from the same scripted CA and does"
            " nothing else.",
            figures=cpu,
            details={"floor": floors},
        ),
    ]


def _floors(folder: Path, size: Size) -> dict[str, dict[str, float]]:
    found = {}
    with ExitStack() as stack:
        _, ca = crowd.start_ca(folder, dns_port=None, stack=stack)
        for names in (1, 2):
            for at_once in (64, 1):
                plan = floor.Plan(
                    directory_url=ca.directory_url,
                    trust_file=str(ca.trust_file),
                    count=size.floor if at_once > 1 else size.sequential,
                    names=names,
                    at_once=at_once,
                )
                command = [sys.executable, "-m", "bench.floor", json.dumps(asdict(plan))]
                with Child(command, log=folder / "floor.log") as child:
                    title = f"{names} name{'s' * (names > 1)}, {at_once} at once"
                    found[title] = child.line(limit_s=FLOOR_S)
    return found


def _wave_profile(folder: Path, size: Size) -> tuple[str, ...]:
    """Repeat a smaller wave with HQ under cProfile (its clock is the thread's CPU time)."""
    out = folder / "hq.profile"
    boxes = max(4, size.wave // 5)
    crowd.run_wave(folder / "profiled", boxes=boxes, workers=crowd.WORKERS, at_once=boxes, profile=out)
    stats: Mapping[Any, Any] = pstats.Stats(str(out)).stats  # type: ignore[attr-defined]  # pstats makes it at run time
    # What ran less than once per box is HQ's start.
    ours = [item for item in stats.items() if "otscert" in item[0][0] and item[1][0] >= boxes]
    ours.sort(key=lambda item: -item[1][3])
    head = f"HQ under cProfile, {boxes} boxes: CPU ms per certificate, callees included and the profiler's own; calls"
    lines = [f"{value[3] * 1000 / boxes:7.2f} ms {value[0] / boxes:6.1f}x  {_short(key)}" for key, value in ours]
    return (head, *lines[:_PROFILE_LINES])


def _short(key: tuple[str, int, str]) -> str:
    file, _, function = key
    return f"{file[file.rfind('otscert') :]}: {function}"


def clients_section(folder: Path, size: Size) -> list[Section]:
    """The others, each for one certificate."""
    with boot.plant(folder, always_valid=True) as plant:
        runs = clients.measure(plant, runs=size.client_runs)
    names = list(dict.fromkeys(run.client for run in runs))
    by_client = {name: [run.ms for run in runs if run.client == name] for name in names}
    titles = {
        "ours": "ours: a box's whole boot, name and wildcard by dns-01",
        "certbot": "certbot, one name by dns-01",
        "lego": "lego, one name by dns-01",
        "lego-http": "lego, one name by http-01",
    }
    ours = median(by_client["ours"])
    return [
        Section(
            name="clients",
            title="One certificate, beside certbot and lego",
            how=f"p50 of {size.client_runs} runs each in turn, at one Pebble that takes every challenge as passed;"
            " accounts exist already. Theirs is the certificate alone; ours is from the start of the agent's process to"
            " the verified page.",
            figures=(
                *(Figure(name=titles[name], value=median(by_client[name]), unit="ms") for name in names),
                Figure(name="certbot to ours", value=median(by_client["certbot"]) / ours, unit="x"),
                Figure(name="lego (dns-01) to ours", value=median(by_client["lego"]) / ours, unit="x"),
            ),
            details={"ms": by_client},
        )
    ]


def keys_section(folder: Path, size: Size) -> list[Section]:
    """RSA keys, for the models that allow them."""
    found = keys.measure(folder, moduli=size.moduli, keys=size.new_keys)
    times = sorted(found.examine_ms)
    return [
        Section(
            name="keys",
            title=f"One new RSA key against {found.moduli} keys of the fleet",
            how=f"{keys.BITS}-bit keys: badkeys' checks without its blocklist, and one gcd with each product of 1024"
            " moduli, in a thread, as an enrolment does it. The fleet's moduli are odd numbers of that length; one real"
            " key is hidden among them and has to be found.",
            figures=(
                Figure(name="one new key, p50", value=median(times), unit="ms", limit=100),
                Figure(name="one new key, slowest", value=times[-1], unit="ms"),
                Figure(name="CPU of one new key", value=found.cpu_ms, unit="ms"),
                Figure(name="of that, known weaknesses, p50", value=median(found.known_weakness_ms), unit="ms"),
                Figure(name="the event loop is late meanwhile, p99", value=found.loop_late_ms, unit="ms"),
                Figure(name="the event loop is late without it, p99", value=found.quiet_late_ms, unit="ms"),
                Figure(name="the first key of a process: all moduli are read", value=found.fill_ms, unit="ms"),
                Figure(name="products in memory", value=found.products_mb, unit="MB"),
            ),
            details=asdict(found),
        )
    ]


SECTIONS: Mapping[str, Callable[[Path, Size], list[Section]]] = {
    **dns_sections.SECTIONS,
    "wave": wave_section,
    "clients": clients_section,
    "keys": keys_section,
    "boot": boot_section,
    **stores.SECTIONS,
}
"""In the order of a run; `wave` brings hq-cpu too, `boot` brings agent."""


def _missed(figures: tuple[Figure, ...], profile: Callable[[], tuple[str, ...]]) -> tuple[str, ...]:
    return profile() if any(figure.verdict is Verdict.MISSED for figure in figures) else ()


def _step_lines(steps: Mapping[str, float], total_ms: float) -> tuple[str, ...]:
    lines, before = ["ms per step (median)"], 0.0
    for step, ms in steps.items():
        lines.append(f"{ms - before:7.0f} ms  {step}")
        before = ms
    return (*lines, f"{total_ms - before:7.0f} ms  a stranger's DNS look-up and TLS handshake")
