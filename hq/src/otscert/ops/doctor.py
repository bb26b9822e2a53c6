"""Examines an installed HQ: every check at once, each within its time, the findings in the order of the list below.

Knows which checks there are. Each of them lives in its own `doctor_*` module and returns values; nothing is printed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping

from otscert.config import Config
from otscert.ops.delegated_zone import delegated_zones
from otscert.ops.doctor_accounts import check_accounts
from otscert.ops.doctor_ask import DNS_PORT, at_port
from otscert.ops.doctor_config import file_warnings, setting_warnings
from otscert.ops.doctor_delegation import check_delegation
from otscert.ops.doctor_finding import Finding, ok, unknown
from otscert.ops.doctor_folder import check_database, check_folder
from otscert.ops.doctor_hq import check_hq
from otscert.ops.doctor_issuer import check_reachable
from otscert.ops.doctor_keys import check_clock_floor, check_keys
from otscert.pki.files import PkiFolder

CHECK_S = 8.0
"""How long one check may take; the whole takes little longer, since all run at once."""
SLOW_S = 2.0
"""After this long, and again after each time as long, `on_slow` hears what is still being waited for."""

OnSlow = Callable[[list[str]], None]
Checks = Mapping[str, AsyncIterator[Finding]]


async def examine(
    config: Config, *, resolver: tuple[str, int] | None = None, on_slow: OnSlow = lambda _names: None
) -> list[Finding]:
    """Run every check on a configuration that loads.

    Args:
        config: the configuration.
        resolver: ask this one instead of the system's, and every name server at its port.
        on_slow: called with the names of the checks that still run.
    """
    pki, now_s = PkiFolder(folder=config.pki_dir), int(time.time())
    zones, place = delegated_zones(config), at_port(resolver[1]) if resolver else DNS_PORT
    checks: Checks = {
        "configuration": _each([ok("config", "the configuration can be used"), *setting_warnings(config)]),
        "data folder": _each(check_folder(config.data_dir)),
        "database": check_database(config),
        # Modes of files come with the keys: what is said of root.key stands together.
        "keys": _each([*check_keys(pki, now_s=now_s), *file_warnings(config)]),
        "HQ": check_hq(config),
        **{f"{zone.prefix}delegation": check_delegation(zone, resolver, place=place) for zone in zones},
        **{f"CA {issuer.name}": check_reachable(issuer) for issuer in config.issuers},
        "issuers": check_accounts(config),
        "clock": _each([check_clock_floor(pki, now_s=now_s)]),
    }
    return await run_checks(checks, on_slow=on_slow)


async def run_checks(checks: Checks, *, limit_s: float = CHECK_S, on_slow: OnSlow) -> list[Finding]:
    """Run checks at once; what one has found before its time is over counts, the rest is "cannot tell"."""
    found: dict[str, list[Finding]] = {name: [] for name in checks}
    async with asyncio.TaskGroup() as group:
        tasks = {
            name: group.create_task(_run(name, check, found[name], limit_s=limit_s)) for name, check in checks.items()
        }
        waiting = set(tasks.values())
        while waiting:
            _, waiting = await asyncio.wait(waiting, timeout=SLOW_S)
            if waiting:
                on_slow([name for name, task in tasks.items() if task in waiting])
    return [finding for findings in found.values() for finding in findings]


async def _run(name: str, check: AsyncIterator[Finding], found: list[Finding], *, limit_s: float) -> None:
    try:
        async with asyncio.timeout(limit_s):
            async for finding in check:
                found.append(finding)  # noqa: PERF401 - what was found before the time is over has to stay
    except TimeoutError:
        found.append(unknown(name, f"{name}: no result within {limit_s:.0f} s", mend="look at the network"))


async def _each(findings: Iterable[Finding]) -> AsyncIterator[Finding]:
    for finding in findings:
        yield finding
