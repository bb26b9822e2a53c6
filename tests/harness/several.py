"""Several real `otscert serve` on one PostgreSQL and one folder, with roles of their own, to be killed and stopped."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from otscert.pki.files import PkiFolder
from otscert.store.postgresql import PostgresStore
from tests.harness.box import Box
from tests.harness.ports import free_port
from tests.scripted_ca import ScriptedCa

HOST = "127.0.0.1"
ZONE = "boxes.example.com"
READY_S = 60.0
_LOOK_S = 0.05


@dataclass(slots=True, kw_only=True)
class Member:
    """One process; `url` is where its device API listens, if it has that role."""

    process: asyncio.subprocess.Process
    log: Path
    url: str

    @property
    def pid(self) -> int:
        return self.process.pid

    def send(self, what: signal.Signals) -> None:
        self.process.send_signal(what)

    async def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        """End it and return its exit status; a process that was stopped is let go on first."""
        if self.process.returncode is None:
            self.send(how)
            self.send(signal.SIGCONT)
        return await asyncio.wait_for(self.process.wait(), READY_S)

    def lines(self, event: str) -> list[dict[str, Any]]:
        """What its log says of one event."""
        said = (json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{"))
        return [line for line in said if line.get("event") == event]


@dataclass(slots=True, kw_only=True)
class Several:
    """HQ as several processes; `url` and `roots_pem` are what a `Box` wants of an HQ."""

    folder: Path
    database_url: str
    url: str
    roots_pem: bytes
    device_port: int
    dns_port: int
    members: list[Member] = field(default_factory=list)
    _started: int = 0

    async def start(self, roles: str, *, port: int = 0, fails: bool = False, **settings: str) -> Member:
        """Start a process and wait until it is ready; `port` is that of its device API, if not the public one."""
        port = port or self.device_port
        named = {
            "OTSCERT_DATABASE_URL": self.database_url,
            "OTSCERT_LISTEN_DEVICE": f"{HOST}:{port}",
            **settings,
        }
        kept = {name: value for name, value in os.environ.items() if not name.startswith("OTSCERT_")}
        self._started += 1
        log = self.folder / f"log-{self._started}"
        with log.open("wb") as out:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "otscert", "serve", "--json", "--role", roles),
                cwd=self.folder,
                env=kept | named,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=out,
            )
        member = Member(process=process, log=log, url=f"https://{HOST}:{port}")
        self.members.append(member)
        assert process.stdout is not None
        said = await asyncio.wait_for(process.stdout.readline(), READY_S)
        assert fails or b'"ready"' in said, log.read_text()
        return member

    async def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """Look into the database, which has no such interface on purpose."""
        store = await asyncio.to_thread(PostgresStore.open, self.database_url)
        try:
            return await store.read(lambda transaction: transaction._connection.execute(sql, values).fetchall())
        finally:
            await store.close()

    async def working(self) -> dict[int, int]:
        """How many orders each process works on, by its pid."""
        rows = await self.rows(
            "SELECT p.pid, count(*) FROM cert_order o JOIN hq_process p ON p.id = o.lease_by GROUP BY p.pid ORDER BY 1"
        )
        return {row[0]: row[1] for row in rows}


@asynccontextmanager
async def several(folder: Path, ca: ScriptedCa, dns_port: int, database_url: str) -> AsyncIterator[Several]:
    """A folder with keys and a configuration that all processes use; whoever still runs at the end is killed."""
    port = free_port()
    pki = PkiFolder(folder=folder / "data" / "pki")
    pki.create(zone=ZONE, hosts=(HOST,), passphrase=None, now_s=int(time.time()))
    (folder / "ca.pem").write_text(ca.trust_pem)
    (folder / "otscert.toml").write_text(_config(f"https://{HOST}:{port}", dns_port, ca.directory_url))
    all_of_it = Several(
        folder=folder,
        database_url=database_url,
        url=f"https://{HOST}:{port}",
        roots_pem=pki.root_pem.read_bytes(),
        device_port=port,
        dns_port=dns_port,
    )
    try:
        yield all_of_it
    finally:
        for member in all_of_it.members:
            await member.end(signal.SIGKILL)


async def certificate_of(box: Box) -> str:
    """Poll as a box does until the order has ended; returns the chain."""
    reply = await box.poll()
    while reply.message["status"] == "waiting":
        await asyncio.sleep(min(1.0, reply.message.get("retry_after", 0)))
        reply = await box.poll()
    assert reply.message["status"] == "issued", reply.message
    return str(reply.message["chain"])


async def eventually(so: Callable[[], Awaitable[bool]], *, within_s: float) -> None:
    """Look until it is so."""
    for _ in range(round(within_s / _LOOK_S)):
        if await so():
            return
        await asyncio.sleep(_LOOK_S)
    raise AssertionError(f"it did not become so within {within_s} s")


def _config(url: str, dns_port: int, directory_url: str) -> str:
    return f"""
        data_dir = "data"
        public_url = "{url}"
        [zone]
        origin = "{ZONE}"
        server_addresses = {{ "ns1.{ZONE}" = ["{HOST}"] }}
        check_servers = ["{HOST}:{dns_port}"]
        [listen]
        dns = ["{HOST}:{dns_port}"]
        metrics = []
        [log]
        format = "json"
        [issuer.scripted]
        directory_url = "{directory_url}"
        trust_file = "ca.pem"
        terms_agreed = true
        max_in_flight = 4
        [limits]
        hellos_per_address_per_hour = 10000
        [model.box]
        policies = ["open"]
        admissions_per_address_per_day = 10000
        admissions_per_model_per_day = 10000
        """
