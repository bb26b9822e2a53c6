"""Many boxes at once against HQ and the scripted CA, each a process of its own on the same cores.

Knows how the processes are arranged and what their figures mean. `wave_worker` is the boxes' side.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.child import Child, CpuMs
from bench.figures import percentile
from bench.hq import MODEL, CaAddress, HqFolder, HqPorts
from bench.wave_worker import Plan
from tests.harness.ports import free_port

WAVE_S = 180.0
WORKERS = 2
IN_FLIGHT = 100
MEMORY = Path("/dev/shm")  # noqa: S108 - a folder for the boxes is made inside, by mkdtemp


@dataclass(frozen=True, slots=True, kw_only=True)
class WaveResult:
    """What a wave did; times in s from the common start, CPU in ms per certificate."""

    boxes: int
    verified: int
    errors: dict[str, int]
    wall_s: float
    per_s: float
    p50_s: float
    p95_s: float
    max_s: float
    hq_cpu_ms: float
    hq_user_ms: float
    hq_system_ms: float
    ca_cpu_ms: float
    boxes_cpu_ms: float

    @property
    def lost(self) -> int:
        return self.boxes - self.verified


def start_ca(folder: Path, *, dns_port: int | None, stack: ExitStack) -> tuple[Child, CaAddress]:
    """Start the scripted CA; with `dns_port` it looks at every challenge there, else it takes them as passed."""
    folder.mkdir(parents=True)
    dns = [] if dns_port is None else ["--dns", f"127.0.0.1:{dns_port}"]
    command = [sys.executable, "-m", "tests.scripted_ca", "--json", "--folder", str(folder), *dns]
    ca = stack.enter_context(Child(command, log=folder / "ca.log"))
    ready = ca.line()
    address = CaAddress(
        directory_url=ready["directory_url"],
        trust_file=Path(ready["trust_file"]),
        roots_file=Path(ready["issuing_roots_file"]),
    )
    return ca, address


def run_wave(
    folder: Path,
    *,
    boxes: int,
    workers: int,
    at_once: int,
    profile: Path | None = None,
    in_flight: int = IN_FLIGHT,
    database_url: str = "",
) -> WaveResult:
    """Run `boxes` first boots, `at_once` at a time, from `workers` processes; HQ and CA start fresh."""
    with ExitStack() as stack:
        ports = HqPorts(device=free_port(), dns=free_port())
        ca, address = start_ca(folder / "ca", dns_port=ports.dns, stack=stack)
        hq_folder = HqFolder(folder, ports, address, max_in_flight=in_flight, database_url=database_url)
        hq = stack.enter_context(hq_folder.start(profile=profile))
        # A box's own flash is not HQ's disk: the boxes' folders are in memory, HQ's is not.
        where = stack.enter_context(
            tempfile.TemporaryDirectory(prefix="otscert-bench-", dir=MEMORY if MEMORY.is_dir() else folder)
        )
        plans = [
            Plan(
                hq_url=hq_folder.public_url,
                hq_roots=str(hq_folder.root_pem),
                model=MODEL,
                ca_roots=str(address.roots_file),
                folder=str(Path(where, str(number))),
                count=boxes // workers + (number < boxes % workers),
                at_once=max(1, at_once // workers),
            )
            for number in range(workers)
        ]
        children = [stack.enter_context(_start_worker(plan, folder / f"worker{n}.log")) for n, plan in enumerate(plans)]
        for child in children:
            child.line()
        watched = {"hq": [hq], "ca": [ca], "boxes": children}
        before = _cpu(watched)
        began_s = time.monotonic()
        for child in children:
            child.tell("go")
        results = [box for child in children for box in child.line(limit_s=WAVE_S)["boxes"]]
        spent = {name: after - before[name] for name, after in _cpu(watched).items()}
    return _result(results, began_s, spent)


def _start_worker(plan: Plan, log: Path) -> Child:
    return Child([sys.executable, "-m", "bench.wave_worker", json.dumps(asdict(plan))], log=log)


def _cpu(watched: dict[str, list[Child]]) -> dict[str, CpuMs]:
    return {
        name: CpuMs(
            user=sum(child.cpu_ms().user for child in children),
            system=sum(child.cpu_ms().system for child in children),
        )
        for name, children in watched.items()
    }


def _result(results: list[dict[str, Any]], began_s: float, spent: dict[str, CpuMs]) -> WaveResult:
    good = [box for box in results if box["error"] is None]
    times = sorted(box["verified_s"] - began_s for box in good) or [float("nan")]
    errors: dict[str, int] = {}
    for box in results:
        if box["error"] is not None:
            errors[box["error"][:200]] = errors.get(box["error"][:200], 0) + 1
    count = max(1, len(good))
    return WaveResult(
        boxes=len(results),
        verified=len(good),
        errors=errors,
        wall_s=times[-1],
        per_s=len(good) / times[-1],
        p50_s=statistics.median(times),
        p95_s=percentile(times, 95),
        max_s=times[-1],
        hq_cpu_ms=spent["hq"].total / count,
        hq_user_ms=spent["hq"].user / count,
        hq_system_ms=spent["hq"].system / count,
        ca_cpu_ms=spent["ca"].total / count,
        boxes_cpu_ms=spent["boxes"].total / count,
    )
