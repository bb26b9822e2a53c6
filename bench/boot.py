"""Boot to HTTPS of real agent processes one after the other, and what each of them cost its box.

A box is measured from the start of its process to the verdict of a TLS client that knows only the CA's root and HQ's
DNS server. Uses the demo's HQ and boxes; chooses only how many, and against which CA.
"""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.child import cpu_ms
from bench.errors import BenchError
from otscert.ops.demo_box import DemoBox
from otscert.ops.demo_hq import DemoHq, Ports
from otscert.ops.pebble import Pebble, find_pebble, start_pebble
from otscert.ops.verify import verify_box
from tests.harness.ports import free_port

BOX_S = 60.0
# HQ asks for the first check-in 30 to 60 s after the enrolment; then the box has hours, and becomes small.
HANDOVER_S = 90.0
SETTLE_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Boot:
    """One box. `cpu_s` and `peak_mb` are the agent's at the moment of the verdict."""

    ms: float
    steps: dict[str, int]
    cpu_s: float
    peak_mb: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Plant:
    """A CA and an HQ that are running, and the folder for the boxes."""

    folder: Path
    ca: Pebble
    hq: DemoHq
    root_pem: Path


@contextlib.contextmanager
def plant(folder: Path, *, always_valid: bool = False) -> Iterator[Plant]:
    """Start Pebble (nonce rejections and authorization reuse as it has them) and HQ; end both."""
    ports = Ports(device=free_port(), dns=free_port())
    (folder / "ca").mkdir(parents=True)
    ca = start_pebble(
        binary=find_pebble(), folder=folder / "ca", dns_server=f"127.0.0.1:{ports.dns}", always_valid=always_valid
    )
    with ca:
        root_pem = folder / "ca-root.pem"
        root_pem.write_text("".join(ca.issuing_roots()), encoding="ascii")
        deaths: list[int] = []
        hq = DemoHq(folder, ports, died=deaths.append)
        try:
            hq.start(ca)
            yield Plant(folder=folder, ca=ca, hq=hq, root_pem=root_pem)
        finally:
            hq.stop()
        if deaths:
            raise BenchError(f"HQ ended with status {deaths[0]} in the middle of a run")


def boot(plant_: Plant, number: int) -> tuple[DemoBox, Boot]:
    """Switch a box on and wait until a stranger has verified it; the caller stops it.

    Raises:
        BenchError: when it is not verified in time.
    """
    box = DemoBox.start(plant_.folder / f"box{number}", plant_.hq)
    try:
        return box, _verified(plant_, box)
    except BaseException:
        box.stop()
        raise


def _verified(plant_: Plant, box: DemoBox) -> Boot:
    until_s = box.began_s + BOX_S
    serving = box.wait_serving(until_s=until_s)
    if serving is None:
        raise BenchError(f"{box.folder.name} does not serve: {box.why_not()}")
    verdict = verify_box(
        serving.name, serving.port, root_pem=plant_.root_pem, dns_port=plant_.hq.ports.dns, until_s=until_s
    )
    took_ms = (time.monotonic() - box.began_s) * 1000
    if verdict.error is not None:
        raise BenchError(f"{box.folder.name} was not verified: {verdict.error}")
    return Boot(
        ms=took_ms,
        steps={step.step: step.ms for step in box.steps},
        cpu_s=cpu_ms(box.process.pid).total / 1000,
        peak_mb=memory_mb(box.process.pid, "VmHWM"),
    )


def boots(plant_: Plant, numbers: Iterable[int]) -> list[Boot]:
    """Boot a box for each number, each switched off before the next is switched on."""
    results = []
    for number in numbers:
        box, result = boot(plant_, number)
        box.stop()
        results.append(result)
    return results


def steady_mb(pid: int) -> float:
    """Wait until the agent has replaced itself by its small image, and return what that one holds.

    Raises:
        BenchError: when it has not done so in time.
    """
    deadline_s = time.monotonic() + HANDOVER_S
    maps = Path(f"/proc/{pid}/maps")
    while "cryptography" in maps.read_text(encoding="utf-8", errors="replace"):
        if time.monotonic() > deadline_s:
            raise BenchError(f"the agent had not become small {HANDOVER_S:.0f} s after its boot")
        time.sleep(0.05)
    return _settled_mb(pid, deadline_s)


def _settled_mb(pid: int, deadline_s: float) -> float:
    """The resident memory once the process has been idle for a while: its imports are over then."""
    before = -1.0
    while time.monotonic() < deadline_s:
        spent = cpu_ms(pid).total
        if spent == before:
            break
        before = spent
        time.sleep(SETTLE_S)
    return memory_mb(pid, "VmRSS")


def memory_mb(pid: int, what: str) -> float:
    """A line of proc(5)'s status in MB (10^6 bytes); `what` is VmHWM (the peak) or VmRSS."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith(what + ":"):
            return int(line.split()[1]) * 1024 / 1e6
    raise BenchError(f"process {pid} has no {what}")


def median_steps(results: list[Boot]) -> dict[str, float]:
    """The median ms since power-on at which each step was done."""
    return {step: statistics.median(each.steps[step] for each in results) for step in results[0].steps}


def hq_cpu_ms(hq: DemoHq) -> float:
    return cpu_ms(hq.pid).total
