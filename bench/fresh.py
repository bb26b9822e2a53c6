"""How soon every DNS process of one PostgreSQL answers a challenge that another process has put into the store.

Writes as a worker does: the row, then the signal. Each process is asked over UDP, again as soon as it has answered.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from bench.hq import ZONE, CaAddress, HqFolder, HqPorts
from otscert.service.shared_signals import SharedSignals
from otscert.service.topics import ZONE as CHANGED
from otscert.store.postgresql import PostgresStore
from tests.harness.ports import free_port
from tests.harness.postgresql import DURABLE, run_postgres

PROCESSES = 3
PAUSE_S = 0.001
LIMIT_S = 10.0


def measure(folder: Path, *, challenges: int) -> list[float]:
    """Ms from the begin of each write until the last of the processes answers it, ascending."""
    ports = [free_port() for _ in range(PROCESSES)]
    with run_postgres(DURABLE) as server, ExitStack() as stack:
        url = server.create_database()
        trust = folder / "ca.pem"
        nobody = CaAddress(directory_url="https://127.0.0.1:1/", trust_file=trust, roots_file=trust)
        hq = HqFolder(
            folder / "fresh", HqPorts(device=free_port(), dns=ports[0]), nobody, max_in_flight=1, database_url=url
        )
        shutil.copy(hq.root_pem, trust)
        children = [stack.enter_context(hq.launch(roles="dns", dns_port=port)) for port in ports]
        for child in children:
            child.line()
        return asyncio.run(_write_and_ask(url, ports, challenges))


async def _write_and_ask(url: str, ports: Sequence[int], challenges: int) -> list[float]:
    store, signals = PostgresStore.open(url), SharedSignals(url)
    working = asyncio.create_task(signals.work())
    try:
        # The first makes the connections.
        times = [await _one(store, signals, ports, number) for number in range(challenges + 1)]
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
        await store.close()
    return sorted(times[1:])


async def _one(store: PostgresStore, signals: SharedSignals, ports: Sequence[int], number: int) -> float:
    label, value = f"b{number:015d}", f"{number:043d}"
    asked = [asyncio.create_task(_until_answered(port, label, value)) for port in ports]
    await asyncio.sleep(0)
    began_s = time.monotonic()
    await store.write(lambda transaction: transaction.challenges.put("order", label, [value]))
    signals.publish(CHANGED)
    return (max(await asyncio.gather(*asked)) - began_s) * 1000


async def _until_answered(port: int, label: str, value: str) -> float:
    import dns.asyncquery  # noqa: PLC0415 - only this look needs it
    import dns.message  # noqa: PLC0415 - same

    query, wanted = dns.message.make_query(f"_acme-challenge.{label}.{ZONE}", "TXT"), value.encode()
    async with asyncio.timeout(LIMIT_S):
        while True:
            answer = await dns.asyncquery.udp(query, "127.0.0.1", port=port, timeout=LIMIT_S)
            if wanted in answer.to_wire():
                return time.monotonic()
            await asyncio.sleep(PAUSE_S)
