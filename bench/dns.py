"""Our name server beside NSD: the same names, the same queries, the same dnsperf, turn and turn about.

The server has the first core and dnsperf the last. Knows how NSD and dnsperf are started and read; the servers' answers
are compared only by their code (`hq/tests/zones` judges content).
"""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.child import Child, CpuMs, own_environment, wait_until
from bench.dns_server import ORIGIN, address, label
from bench.errors import BenchError
from parts.catalog import Command, find_command
from tests.harness.ports import free_port

START_S = 15.0
WARM_UP_S = 1
_SEED = 20261123


@dataclass(frozen=True, slots=True, kw_only=True)
class DnsRound:
    """One dnsperf run: answered queries per s, the server's CPU in us per query, and how many got no answer.

    `core_share` is how much of its core the server used: below 1 dnsperf (or somebody else) was what took the time.
    """

    per_s: float
    user_us: float
    system_us: float
    lost: int
    core_share: float

    @property
    def cpu_us(self) -> float:
        return self.user_us + self.system_us


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A running name server."""

    name: str
    port: int
    child: Child


def measure(folder: Path, *, names: int, rounds: int, seconds: int) -> dict[str, list[DnsRound]]:
    """Return the rounds of each server, taken in alternating order."""
    queries = folder / "queries.txt"
    numbers = list(range(names))
    random.Random(_SEED).shuffle(numbers)
    queries.write_text("".join(f"{label(number)}.{ORIGIN} A\n" for number in numbers), encoding="ascii")
    dnsperf = need("dnsperf")
    with ExitStack() as stack:
        servers = [stack.enter_context(_ours(folder, names)), stack.enter_context(_nsd(folder, names))]
        for server in servers:
            _run(dnsperf, server, queries, WARM_UP_S)
        results: dict[str, list[DnsRound]] = {server.name: [] for server in servers}
        for number in range(rounds):
            for server in servers if number % 2 == 0 else reversed(servers):
                results[server.name].append(_run(dnsperf, server, queries, seconds))
    return results


def need(name: str) -> Command:
    """Return a part's command.

    Raises:
        BenchError: when it is not here, with what fetches it.
    """
    command = find_command(name)
    if command is None:
        raise BenchError(f"{name} is not here: run make parts")
    return command


@contextmanager
def _ours(folder: Path, names: int) -> Iterator[Server]:
    command = [sys.executable, "-m", "bench.dns_server", str(names)]
    with Child(command, log=folder / "ours.log", core=_cores()[0]) as child:
        yield Server(name="ours", port=child.line()["port"], child=child)


@contextmanager
def _nsd(folder: Path, names: int) -> Iterator[Server]:
    nsd, port = need("nsd"), free_port()
    zone = folder / "zone"
    zone.write_text(_zone_file(names), encoding="ascii")
    config = folder / "nsd.conf"
    config.write_text(_nsd_config(folder, zone, port), encoding="ascii")
    command = [str(nsd.path), "-d", "-c", str(config)]
    with Child(command, log=folder / "nsd.log", core=_cores()[0], env=nsd.env) as child:
        deadline_s = time.monotonic() + START_S
        while not _answers(port):
            if child.process.poll() is not None or not wait_until(deadline_s):
                raise BenchError(f"NSD does not answer; its log:\n{child.log_tail()}")
        yield Server(name="nsd", port=port, child=child)


def _cores() -> list[int]:
    return sorted(os.sched_getaffinity(0))


def _zone_file(names: int) -> str:
    apex = f"$ORIGIN {ORIGIN}.\n$TTL 60\n@ SOA ns1 hostmaster 1 3600 600 1209600 60\n@ NS ns1\nns1 A 127.0.0.1\n"
    return apex + "".join(f"{label(number)} A {address(number)}\n" for number in range(names))


def _nsd_config(folder: Path, zone: Path, port: int) -> str:
    # One server process, as ours; no rate limit, which counts loopback as one client; nothing written anywhere else.
    return f"""server:
  ip-address: 127.0.0.1@{port}
  server-count: 1
  username: ""
  zonesdir: "{folder}"
  database: ""
  zonelistfile: "{folder}/zone.list"
  xfrdfile: "{folder}/xfrd.state"
  xfrdir: "{folder}"
  pidfile: "{folder}/nsd.pid"
  rrl-ratelimit: 0
  rrl-whitelist-ratelimit: 0
remote-control:
  control-enable: no
zone:
  name: "{ORIGIN}"
  zonefile: "{zone}"
"""


def _answers(port: int) -> bool:
    import dns.exception  # noqa: PLC0415 - only this look needs it
    import dns.message  # noqa: PLC0415 - same
    import dns.query  # noqa: PLC0415 - same

    query = dns.message.make_query(f"{label(0)}.{ORIGIN}", "A")
    try:
        return bool(dns.query.udp(query, "127.0.0.1", port=port, timeout=0.2).answer)
    except (OSError, dns.exception.DNSException):
        return False


def _run(dnsperf: Command, server: Server, queries: Path, seconds: int) -> DnsRound:
    command = ["taskset", "-c", str(_cores()[-1]), str(dnsperf.path)]
    command += [
        "-s",
        "127.0.0.1",
        "-p",
        str(server.port),
        "-d",
        str(queries),
        "-l",
        str(seconds),
        "-c",
        "8",
        "-q",
        "200",
    ]
    before, began_s = server.child.cpu_ms(), time.monotonic()
    done = subprocess.run(
        [*command, "-e"],
        env={**own_environment(), **dnsperf.env},
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds + 30,
    )
    spent, wall_s = server.child.cpu_ms() - before, time.monotonic() - began_s
    if done.returncode:
        raise BenchError(f"dnsperf failed: {done.stderr[-500:]}")
    return read_dnsperf(done.stdout, server.name, spent, wall_s)


def read_dnsperf(text: str, server: str, spent: CpuMs, wall_s: float) -> DnsRound:
    """Read dnsperf's summary.

    Raises:
        BenchError: when an answer had another code than NOERROR, or the summary cannot be read.
    """
    completed = _number(r"Queries completed:\s+(\d+)", text)
    codes = re.search(r"Response codes:\s+(.+)", text)
    if codes is None or not codes.group(1).startswith(f"NOERROR {completed:.0f} "):
        raise BenchError(f"{server} gave other answers than NOERROR: {codes.group(1) if codes else text[-300:]}")
    return DnsRound(
        per_s=_number(r"Queries per second:\s+([\d.]+)", text),
        user_us=spent.user * 1000 / completed,
        system_us=spent.system * 1000 / completed,
        lost=int(_number(r"Queries lost:\s+(\d+)", text)),
        core_share=spent.total / 1000 / wall_s,
    )


def _number(pattern: str, text: str) -> float:
    found = re.search(pattern, text)
    if found is None:
        raise BenchError(f"dnsperf's summary has no {pattern!r}: {text[-300:]}")
    return float(found.group(1))
