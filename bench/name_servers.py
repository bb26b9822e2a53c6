"""The name servers of a comparison: ours, NSD, Knot and PowerDNS, each one process on the first core with one zone.

Knows how each is configured without root, on loopback, for one worker and without limits that loopback would meet.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench.child import Child, wait_until
from bench.dns_zone import NETWORK4, ORIGIN, label, zone_file
from bench.dnsperf import first_core, need
from bench.errors import BenchError
from tests.harness.ports import free_port

START_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A name server that answers."""

    name: str
    port: int
    child: Child


@contextmanager
def ours(
    folder: Path,
    boxes: int,
    *,
    name: str = "ours",
    challenges_per_s: int = 0,
    port: int = 0,
    pinned: bool = True,
) -> Iterator[Server]:
    """Our zone and server alone; with a `port` that it shares with whoever else is started there."""
    command = [sys.executable, "-m", "bench.dns_server", str(boxes), str(challenges_per_s), str(port)]
    with Child(command, log=folder / f"{name}.log", core=first_core() if pinned else None) as child:
        yield Server(name=name, port=child.line()["port"], child=child)


@contextmanager
def nsd(folder: Path, boxes: int) -> Iterator[Server]:
    own, zone, port = _folder(folder, "nsd", boxes)
    config = own / "nsd.conf"
    # No rate limit, which counts loopback as one client; nothing written anywhere else.
    config.write_text(
        f"""server:
  ip-address: 127.0.0.1@{port}
  server-count: 1
  username: ""
  zonesdir: "{own}"
  database: ""
  zonelistfile: "{own}/zone.list"
  xfrdfile: "{own}/xfrd.state"
  xfrdir: "{own}"
  pidfile: "{own}/nsd.pid"
  rrl-ratelimit: 0
  rrl-whitelist-ratelimit: 0
remote-control:
  control-enable: no
zone:
  name: "{ORIGIN}"
  zonefile: "{zone}"
""",
        encoding="ascii",
    )
    with _running("nsd", "nsd", ["-d", "-c", str(config)], own, port) as server:
        yield server


@contextmanager
def knot(folder: Path, boxes: int) -> Iterator[Server]:
    """With mod-synthrecord, which computes names as ours does."""
    own, zone, port = _folder(folder, "knot", boxes)
    config = own / "knot.conf"
    config.write_text(
        f"""server:
    rundir: {own}
    listen: 127.0.0.1@{port}
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
database:
    storage: {own}
log:
  - target: stderr
    any: error
mod-synthrecord:
  - id: computed
    type: forward
    ttl: 86400
    network: {NETWORK4}
zone:
  - domain: {ORIGIN}
    file: {zone}
    zonefile-sync: -1
    journal-content: none
    module: mod-synthrecord/computed
""",
        encoding="ascii",
    )
    with _running("knot", "knotd", ["-c", str(config)], own, port) as server:
        yield server


@contextmanager
def powerdns(folder: Path, boxes: int, *, caches: bool) -> Iterator[Server]:
    """With its bind backend; without caches every question goes to that backend."""
    name = "powerdns" if caches else "powerdns-uncached"
    own, zone, port = _folder(folder, name, boxes)
    backend = need("pdns-backend-bind").path
    (own / "named.conf").write_text(
        f'options {{ directory "{own}"; }};\nzone "{ORIGIN}" {{ type master; file "{zone}"; }};\n', encoding="ascii"
    )
    uncached = "" if caches else "cache-ttl=0\nquery-cache-ttl=0\nnegquery-cache-ttl=0\n"
    (own / "pdns.conf").write_text(
        f"""module-dir={backend.parent}
launch=bind
bind-config={own}/named.conf
bind-check-interval=0
local-address=127.0.0.1
local-port={port}
socket-dir={own}
receiver-threads=1
distributor-threads=1
daemon=no
guardian=no
write-pid=no
disable-syslog=yes
loglevel=3
security-poll-suffix=
{uncached}""",
        encoding="ascii",
    )
    with _running(name, "pdns_server", [f"--config-dir={own}"], own, port) as server:
        yield server


COMPARED: Mapping[str, Callable[[Path, int], AbstractContextManager[Server]]] = {
    "ours": ours,
    "nsd": nsd,
    "knot": knot,
    "powerdns": partial(powerdns, caches=True),
    "powerdns-uncached": partial(powerdns, caches=False),
}
TITLES = {
    "ours": "ours",
    "nsd": "NSD",
    "knot": "Knot",
    "powerdns": "PowerDNS",
    "powerdns-uncached": "PowerDNS without caches",
    "written": "ours, 50 challenges written a second",
}


def _folder(folder: Path, name: str, boxes: int) -> tuple[Path, Path, int]:
    own = folder / name
    own.mkdir()
    zone = own / "zone"
    zone.write_text(zone_file(boxes), encoding="ascii")
    return own, zone, free_port()


@contextmanager
def _running(name: str, part: str, options: list[str], own: Path, port: int) -> Iterator[Server]:
    command = need(part)
    with Child([str(command.path), *options], log=own / "log", core=first_core(), env=command.env) as child:
        wait_for_answer(child, port, f"{label(0)}.{ORIGIN}")
        yield Server(name=name, port=port, child=child)


def wait_for_answer(child: Child, port: int, name: str, *, rtype: str = "A", limit_s: float = START_S) -> float:
    """Ask until a name has an answer; returns the monotonic time of that.

    Raises:
        BenchError: with the end of the log, when it ends or does not answer in time.
    """
    deadline_s = time.monotonic() + limit_s
    while not _answers(port, name, rtype):
        if child.process.poll() is not None or not wait_until(deadline_s):
            raise BenchError(f"{child.process.args!r} does not answer {name}; its log:\n{child.log_tail()}")
    return time.monotonic()


def _answers(port: int, name: str, rtype: str) -> bool:
    import dns.exception  # noqa: PLC0415 - only this look needs it
    import dns.message  # noqa: PLC0415 - same
    import dns.query  # noqa: PLC0415 - same

    query = dns.message.make_query(name, rtype)
    try:
        return bool(dns.query.udp(query, "127.0.0.1", port=port, timeout=0.2).answer)
    except (OSError, dns.exception.DNSException):
        return False
