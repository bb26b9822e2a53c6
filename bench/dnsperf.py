"""dnsperf: how it is run on its own core, and what its summary and its list of answers say.

Knows its words. Does not know which server answers.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.child import Child, CpuMs, own_environment
from bench.errors import BenchError
from bench.figures import percentile
from parts.catalog import Command, find_command

OUTSTANDING = 200
SOCKETS = 8
TIMEOUT_S = 2
_SLACK_S = 30
_EXPECTED = {"NOERROR", "NXDOMAIN"}
_TOLERANCE = 0.01
_ANSWER = re.compile(r"^> (\S+) \S+ \S+ (\d+\.\d+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What dnsperf is to do: `rate` queries a second (None: as many as come back), over `mode` udp or tcp.

    It runs on the last core (`pinned`) or on any, for so many
    seconds or `once` through the questions. `nxdomain` is the share of questions for names that do not exist.
    """

    questions: Path
    seconds: int
    rate: int | None = None
    mode: str = "udp"
    pinned: bool = True
    once: bool = False
    nxdomain: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DnsRound:
    """One dnsperf run: answered queries per s, the server's CPU in us per query, and how many got no answer.

    `core_share` is how much of a core the server used: below 1 dnsperf (or somebody else) was what took the time.
    """

    per_s: float
    user_us: float
    system_us: float
    lost: int
    core_share: float

    @property
    def cpu_us(self) -> float:
        return self.user_us + self.system_us


def need(name: str) -> Command:
    """Return a part's command.

    Raises:
        BenchError: when it is not here, with what fetches it.
    """
    command = find_command(name)
    if command is None:
        raise BenchError(f"{name} is not here: run make parts")
    return command


def first_core() -> int:
    """The servers' core."""
    return min(os.sched_getaffinity(0))


def last_core() -> int:
    """The clients' core."""
    return max(os.sched_getaffinity(0))


def flood(name: str, port: int, children: Iterable[Child], load: Load) -> DnsRound:
    """Ask as fast as answers come (or as `load.rate` says) and read the summary and the servers' own CPU time.

    Raises:
        BenchError: when dnsperf fails, or an answer has a code that the questions do not explain.
    """
    watched = list(children)
    before, began_s = _spent(watched), time.monotonic()
    text = _run(port, load)
    spent, wall_s = _spent(watched) - before, time.monotonic() - began_s
    return read_summary(text, name, spent, wall_s, nxdomain=load.nxdomain)


def latencies_ms(port: int, load: Load) -> list[float]:
    """Ask at a steady rate and return how long each answer took, ascending."""
    return read_answers(_run(port, load, "-v"))


def start_flood(port: int, load: Load) -> subprocess.Popen[str]:
    """Begin a flood beside something else; `end_flood` waits for it."""
    return subprocess.Popen(
        _command(port, load), env=_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def end_flood(running: subprocess.Popen[str], seconds: int) -> str:
    """Wait for the summary of a flood.

    Raises:
        BenchError: when it failed or does not end.
    """
    try:
        out, errors = running.communicate(timeout=seconds + _SLACK_S)
    except subprocess.TimeoutExpired:
        running.kill()
        running.communicate()
        raise BenchError(f"dnsperf did not end within {seconds + _SLACK_S} s") from None
    if running.returncode:
        raise BenchError(f"dnsperf failed: {errors[-500:]}")
    return out


def read_summary(text: str, server: str, spent: CpuMs, wall_s: float, *, nxdomain: float = 0.0) -> DnsRound:
    """Read dnsperf's summary.

    Raises:
        BenchError: when the codes of the answers are not those of the questions, or the summary cannot be read.
    """
    completed = number(r"Queries completed:\s+(\d+)", text)
    said = re.search(r"Response codes:\s+(.+)", text)
    if said is None or not completed:
        raise BenchError(f"{server} answered nothing that dnsperf tells of: {text[-300:]}")
    codes = {code: int(count) for code, count in re.findall(r"([A-Z]+) (\d+) \(", said.group(1))}
    share = codes.get("NXDOMAIN", 0) / completed
    if not codes.keys() <= _EXPECTED or abs(share - nxdomain) > (_TOLERANCE if nxdomain else 0):
        raise BenchError(f"{server} gave other answers than it was asked for: {said.group(1)}")
    return DnsRound(
        per_s=number(r"Queries per second:\s+([\d.]+)", text),
        user_us=spent.user * 1000 / completed,
        system_us=spent.system * 1000 / completed,
        lost=int(number(r"Queries lost:\s+(\d+)", text)),
        core_share=spent.total / 1000 / wall_s,
    )


def read_answers(text: str) -> list[float]:
    """Read the list of answers that `-v` gives: ms of each, ascending.

    Raises:
        BenchError: when there is none.
    """
    times = sorted(float(seconds) * 1000 for _, seconds in _ANSWER.findall(text))
    if not times:
        raise BenchError(f"dnsperf lists no answer: {text[:300]}")
    return times


def p99(ordered_ms: Sequence[float]) -> float:
    return percentile(ordered_ms, 99)


def number(pattern: str, text: str) -> float:
    """The number that a pattern finds in dnsperf's words.

    Raises:
        BenchError: when it finds none.
    """
    found = re.search(pattern, text)
    if found is None:
        raise BenchError(f"dnsperf's summary has no {pattern!r}: {text[-300:]}")
    return float(found.group(1))


def _spent(children: Sequence[Child]) -> CpuMs:
    each = [child.cpu_ms() for child in children]
    return CpuMs(user=sum(one.user for one in each), system=sum(one.system for one in each))


def _run(port: int, load: Load, *options: str) -> str:
    done = subprocess.run(
        [*_command(port, load), *options],
        env=_environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=load.seconds + _SLACK_S,
    )
    if done.returncode:
        raise BenchError(f"dnsperf failed: {done.stderr[-500:]}")
    return done.stdout


def _command(port: int, load: Load) -> list[str]:
    pinned = ["taskset", "-c", str(last_core())] if load.pinned else []
    command = [*pinned, str(need("dnsperf").path), "-e", "-m", load.mode]
    command += ["-s", "127.0.0.1", "-p", str(port), "-d", str(load.questions)]
    command += ["-n", "1"] if load.once else ["-l", str(load.seconds)]
    command += ["-c", str(SOCKETS), "-q", str(OUTSTANDING), "-t", str(TIMEOUT_S)]
    return command if load.rate is None else [*command, "-Q", str(load.rate)]


def _environment() -> dict[str, str]:
    return {**own_environment(), **need("dnsperf").env}
