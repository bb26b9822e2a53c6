"""What a run was taken on: processor, memory, kernel, Python, load."""

from __future__ import annotations

import os
import platform
import re
import ssl
from importlib.metadata import version
from pathlib import Path

import psutil

from parts.catalog import read_record, unpacked_parts


def facts() -> dict[str, str | int | float]:
    """The machine's facts, as the table's head shows them."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count() or 0,
        "ram_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "kernel": platform.release().split("-")[0],
        "python": platform.python_version(),
        "openssl": ssl.OPENSSL_VERSION.split(" ", 2)[1],
    }


def parts() -> dict[str, str]:
    """The versions of the real parts that were measured beside ours or with ours."""
    table = unpacked_parts()
    records = {name: read_record(table[name]) for name in ("pebble", "nsd", "knotd", "pdns_server", "dnsperf", "lego")}
    found = {name: record.version for name, record in records.items() if record is not None}
    return {**found, "certbot": version("certbot")}


def load() -> list[float]:
    """The load averages over 1, 5 and 15 minutes."""
    return [round(value, 2) for value in os.getloadavg()]


def _cpu_model() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found.group(1).strip() if found else platform.machine()
