"""certbot and lego for one certificate each, at a Pebble that takes every challenge as passed; ours at the same one.

Theirs is one name by dns-01, and lego once more by http-01, its shortest way. Ours: a name and its wildcard by dns-01.

Each has its account already, as HQ has: the first run registers it and is not counted. Theirs is the certificate alone;
ours is the whole boot of a box, from the start of its process to the page that a stranger has verified.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.boot import Plant, boot
from bench.child import own_environment
from bench.dnsperf import need
from bench.errors import BenchError
from otscert.ops.demo_hq import ZONE
from tests.harness.ports import free_port

RUN_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientRun:
    """Wall time of one certificate by one client."""

    client: str
    ms: float


def measure(plant: Plant, *, runs: int) -> list[ClientRun]:
    """Run the clients in turn, `runs` times each."""
    clients: dict[str, Callable[[int], float]] = {
        "ours": lambda number: _ours(plant, number),
        "certbot": lambda number: _timed(_certbot(plant, number), _certbot_env(plant)),
        "lego": lambda number: _timed(_lego_dns(plant, number), _lego_env(plant)),
        "lego-http": lambda number: _timed(_lego_http(plant, number), _lego_env(plant)),
    }
    for client in clients.values():
        client(0)
    return [
        ClientRun(client=name, ms=client(number)) for number in range(1, runs + 1) for name, client in clients.items()
    ]


def _ours(plant: Plant, number: int) -> float:
    box, result = boot(plant, 10_000 + number)
    box.stop()
    return result.ms


def _certbot(plant: Plant, number: int) -> list[str]:
    folder = plant.folder / "certbot"
    folders = [f"--{kind}-dir={folder / kind}" for kind in ("config", "work", "logs")]
    how = ["--manual", "--preferred-challenges=dns", f"--manual-auth-hook={sys.executable} -c pass"]
    name = f"certbot{number}.clients.example"
    who = ["--non-interactive", "--agree-tos", "--register-unsafely-without-email", "--no-eff-email"]
    certbot = Path(sys.executable).with_name("certbot")
    wanted = [f"--server={plant.ca.directory_url}", "--key-type=ecdsa", "-d", name]
    return [str(certbot), "certonly", *who, *folders, *how, *wanted]


def _certbot_env(plant: Plant) -> dict[str, str]:
    return {"REQUESTS_CA_BUNDLE": str(plant.ca.api_trust)}


def _lego_dns(plant: Plant, number: int) -> list[str]:
    name = f"lego{number}.{ZONE}"
    # HQ's server says which zone the name is in; nobody waits for a record, because none is written.
    how = ["--dns", "exec", "--dns.resolvers", f"127.0.0.1:{plant.hq.ports.dns}", "--dns.propagation-disable-ans"]
    return [*_lego(plant, "lego"), *how, "--domains", name, "run"]


def _lego_http(plant: Plant, number: int) -> list[str]:
    how = ["--http", "--http.port", f"127.0.0.1:{free_port()}"]
    return [*_lego(plant, "lego-http"), *how, "--domains", f"lego{number}.clients.example", "run"]


def _lego(plant: Plant, folder: str) -> list[str]:
    command = [str(need("lego").path), "--server", plant.ca.directory_url, "--accept-tos", "--email", "a@bench.example"]
    return [*command, "--path", str(plant.folder / folder)]


def _lego_env(plant: Plant) -> dict[str, str]:
    return {"LEGO_CA_CERTIFICATES": str(plant.ca.api_trust), "EXEC_PATH": "/bin/true", **need("lego").env}


def _timed(command: list[str], env: dict[str, str]) -> float:
    began_s = time.monotonic()
    done = subprocess.run(
        command,
        env={**own_environment(), **env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=RUN_S,
    )
    took_ms = (time.monotonic() - began_s) * 1000
    if done.returncode:
        raise BenchError(f"{Path(command[0]).name} failed: {(done.stderr or done.stdout)[-800:]}")
    return took_ms
