"""Our name server while something else goes on: slow TCP clients, a second process on its port, HQ's device API.

Knows how each is arranged on the two cores. What the figures mean is in `dns_sections`.
"""

from __future__ import annotations

import json
import shutil
import sys
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from bench import dnsperf
from bench.api_client import Calls
from bench.child import Child
from bench.dns import STEADY_PER_S, write_questions
from bench.dnsperf import DnsRound, Load
from bench.hq import CaAddress, HqFolder, HqPorts
from bench.name_servers import ours
from tests.harness.ports import free_port

SLOW = 1_000
TCP_PER_S = 2_000
CALLS_PER_S = 40
FLOOD_PER_S = 40_000
FLOOD_MORE_S = 3
"""For the client's own start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A normal client's round at full speed, and ms of its answers at a steady rate, ascending."""

    round: DnsRound
    steady_ms: list[float]


def slow_clients(folder: Path, *, names: int, seconds: int, limit: int | None = None) -> dict[str, Served]:
    """A normal client over UDP and TCP, without the slow ones and beside them."""
    questions = write_questions(folder, "stored", names)
    with ExitStack() as stack:
        server = stack.enter_context(ours(folder, names))
        found = {}
        for state in ("alone", "beside"):
            if state == "beside":
                command = [sys.executable, "-m", "bench.slow_clients", str(server.port), str(SLOW)]
                stack.enter_context(Child(command, log=folder / "slow.log", core=dnsperf.last_core())).line()
            for mode, rate in (("udp", STEADY_PER_S), ("tcp", TCP_PER_S)):
                load = Load(questions=questions, seconds=seconds, mode=mode, rate=limit)
                full = dnsperf.flood("ours", server.port, [server.child], load)
                steady = Load(questions=questions, seconds=seconds, mode=mode, rate=rate)
                found[f"{mode}, {state}"] = Served(round=full, steady_ms=dnsperf.latencies_ms(server.port, steady))
    return found


def shared_port(
    folder: Path, *, names: int, rounds: int, seconds: int, rate: int | None = None
) -> dict[int, list[DnsRound]]:
    """One process and two on one port, all of them and dnsperf free to use both cores."""
    load = Load(questions=write_questions(folder, "stored", names), seconds=seconds, pinned=False, rate=rate)
    found: dict[int, list[DnsRound]] = {1: [], 2: []}
    for _ in range(rounds):
        for count, runs in found.items():
            with ExitStack() as stack:
                port = free_port()
                servers = [
                    stack.enter_context(ours(folder, names, name=f"shared{number}", port=port, pinned=False))
                    for number in range(count)
                ]
                runs.append(dnsperf.flood("ours", port, [server.child for server in servers], load))
    return found


def device_api(folder: Path, *, seconds: int) -> dict[str, list[float]]:
    """Ms of each hello, ascending: with nothing else going on, and while the same process answers a flood."""
    ports = HqPorts(device=free_port(), dns=free_port())
    nobody = CaAddress(directory_url="https://127.0.0.1:1/", trust_file=folder / "ca.pem", roots_file=folder / "ca.pem")
    hq = HqFolder(folder / "api", ports, nobody, max_in_flight=1)
    shutil.copy(hq.root_pem, nobody.trust_file)
    questions = folder / "unknown.txt"
    questions.write_text("ns1.boxes.bench.example A\n", encoding="ascii")
    calls = Calls(url=hq.public_url, roots=str(hq.root_pem), per_s=CALLS_PER_S, seconds=seconds)
    with hq.launch(core=dnsperf.first_core()) as child:
        child.line()
        _call(folder, calls)
        idle = _call(folder, calls)
        flood = Load(questions=questions, seconds=seconds + FLOOD_MORE_S, rate=FLOOD_PER_S)
        running = dnsperf.start_flood(ports.dns, flood)
        try:
            flooded = _call(folder, calls)
        finally:
            text = dnsperf.end_flood(running, flood.seconds)
    answered = dnsperf.number(r"Queries per second:\s+([\d.]+)", text)
    return {"idle": idle, "flooded": flooded, "flood_per_s": [answered]}


def _call(folder: Path, calls: Calls) -> list[float]:
    command = [sys.executable, "-m", "bench.api_client", json.dumps(asdict(calls))]
    with Child(command, log=folder / "client.log", core=dnsperf.last_core()) as child:
        return sorted(child.line(limit_s=calls.seconds + 60)["ms"])
