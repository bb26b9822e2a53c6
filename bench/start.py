"""HQ's start on a database that is there already: how long until its name server answers, and how much memory by then.

Knows how HQ is put on a database. SQLite is one process's, so HQ has all roles there; on PostgreSQL it has dns alone.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from bench.boot import memory_mb
from bench.hq import ZONE, CaAddress, HqFolder, HqPorts
from bench.name_servers import wait_for_answer
from tests.harness.ports import free_port

LIMIT_S = 180.0
SQLITE_FILE = "million.db"


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """From the start of the process: s to the first answer; MB resident then, and at the most until then."""

    roles: str
    answer_s: float
    resident_mb: float
    peak_mb: float


def measure(folder: Path, *, database_url: str, label: str) -> Start:
    """Start HQ and ask for a box's name until it answers; `folder` holds the file when it is SQLite."""
    roles = "dns" if database_url else "api,worker,dns"
    ports = HqPorts(device=free_port(), dns=free_port())
    nobody = CaAddress(directory_url="https://127.0.0.1:1/", trust_file=folder / "ca.pem", roots_file=folder / "ca.pem")
    hq = HqFolder(folder / "start", ports, nobody, max_in_flight=1, database_url=database_url)
    shutil.copy(hq.root_pem, nobody.trust_file)
    if not database_url:
        (folder / SQLITE_FILE).rename(hq.database)
    began_s = time.monotonic()
    with hq.launch(roles=roles) as child:
        answered_s = wait_for_answer(child, ports.dns, f"{label}.{ZONE}", limit_s=LIMIT_S)
        return Start(
            roles=roles,
            answer_s=answered_s - began_s,
            resident_mb=memory_mb(child.pid, "VmRSS"),
            peak_mb=memory_mb(child.pid, "VmHWM"),
        )
