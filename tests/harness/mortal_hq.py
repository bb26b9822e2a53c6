"""A real HQ on a folder, which can be killed at an exact commit and started again; for the crash matrix."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from otscert.pki.files import PkiFolder
from tests.harness.ports import free_port
from tests.harness.zygote import DIE, Death
from tests.scripted_ca import ScriptedCa

HOST = "127.0.0.1"
ZONE = "boxes.example.com"
DEADLINE_S = 60.0


@dataclass(slots=True, kw_only=True)
class MortalHq:
    """`otscert` as processes that come and go; `url` and `roots_pem` are what a `Box` wants of an HQ."""

    folder: Path
    url: str
    roots_pem: bytes
    _zygote: asyncio.subprocess.Process
    pid: int | None = None

    async def start(self) -> None:
        """Run `otscert serve` until it is ready, or dead."""
        await self._send("serve", "--json")
        while (said := await self._hear())["kind"] not in {"ready", "ended"}:
            pass
        if said["kind"] == "ended":
            self.pid = None

    async def run(self, *arguments: str) -> int:
        """Run another command to its end; its exit status, or minus the signal that ended it."""
        await self._send(*arguments)
        return await self.ended()

    def die_at(self, death: Death | None) -> None:
        """Have every process that comes to this move die there; None: nobody has to."""
        if death is None:
            (self.folder / DIE).unlink()
            return
        draft = self.folder / f"{DIE}.new"
        draft.write_bytes(msgspec.json.encode(death))
        draft.rename(self.folder / DIE)

    async def ended(self) -> int:
        """Wait until the running process is gone; its exit status, or minus the signal that ended it."""
        while (said := await self._hear())["kind"] != "ended":
            pass
        self.pid = None
        return int(said["by"])

    async def kill(self, how: signal.Signals = signal.SIGKILL) -> int:
        assert self.pid is not None
        os.kill(self.pid, how)
        return await self.ended()

    async def _send(self, *arguments: str) -> None:
        assert self._zygote.stdin is not None
        assert self.pid is None, "one process at a time"
        self._zygote.stdin.write(json.dumps(arguments).encode() + b"\n")
        said = await self._hear()
        self.pid = said["pid"]

    async def _hear(self) -> dict[str, Any]:
        assert self._zygote.stdout is not None
        while True:
            line = await asyncio.wait_for(self._zygote.stdout.readline(), DEADLINE_S)
            assert line, "the zygote has ended"
            if line.startswith(b"{"):
                said: dict[str, Any] = json.loads(line)
                return said


@asynccontextmanager
async def mortal_hq(
    folder: Path,
    ca: ScriptedCa,
    dns_port: int,
    *,
    database_url: str = "",
    environment: Mapping[str, str] | None = None,
) -> AsyncIterator[MortalHq]:
    """A folder with keys and configuration, and nobody running on it yet; whoever does at the end is killed."""
    device_port = free_port()
    url = f"https://{HOST}:{device_port}"
    (folder / "ca.pem").write_text(ca.trust_pem)
    pki = PkiFolder(folder=folder / "data" / "pki")
    pki.create(zone=ZONE, hosts=(HOST,), passphrase=None, now_s=int(time.time()))
    (folder / "otscert.toml").write_text(_config(url, device_port, dns_port, ca.directory_url))
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OTSCERT_")}
    added = {**(environment or {}), **({"OTSCERT_DATABASE_URL": database_url} if database_url else {})}
    with (folder / "log").open("ab") as log:
        zygote = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.harness.zygote", str(folder)),
            env=kept | added,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
            limit=1 << 20,
        )
    hq = MortalHq(folder=folder, url=url, roots_pem=pki.root_pem.read_bytes(), _zygote=zygote)
    try:
        assert (await hq._hear())["kind"] == "zygote"
        yield hq
    finally:
        if hq.pid is not None:
            await hq.kill()
        assert zygote.stdin is not None
        zygote.stdin.close()
        await asyncio.wait_for(zygote.wait(), DEADLINE_S)


def _config(url: str, device_port: int, dns_port: int, directory_url: str) -> str:
    return f"""
        data_dir = "data"
        public_url = "{url}"
        [zone]
        origin = "{ZONE}"
        server_addresses = {{ "ns1.{ZONE}" = ["{HOST}"] }}
        [listen]
        device = ["{HOST}:{device_port}"]
        dns = ["{HOST}:{dns_port}"]
        metrics = []
        [issuer.scripted]
        directory_url = "{directory_url}"
        trust_file = "ca.pem"
        terms_agreed = true
        [limits]
        hellos_per_address_per_hour = 10000
        orders_per_device_per_week = 20
        [model.box]
        policies = ["open"]
        admissions_per_address_per_day = 10000
        admissions_per_model_per_day = 10000
        """
