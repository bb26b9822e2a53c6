"""A whole HQ with NSD in front of it is killed and started again: NSD goes on, and the CA asks only NSD."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dns.asyncquery
import dns.exception
import dns.message

from otscert.pki.files import PkiFolder
from otscert.zones.serials import is_ahead
from tests.harness.box import Box, open_session
from tests.harness.name_servers.nsd import nsd_secondary
from tests.harness.ports import LOOPBACK, free_port
from tests.scripted_ca import start_scripted_ca

ZONE = "boxes.example.com"
SECRET = base64.b64encode(bytes(32)).decode()
DEADLINE_S = 30.0


def configure(folder: Path, *, ca: Any, device_port: int, dns_port: int, nsd_port: int) -> PkiFolder:
    (folder / "ca.pem").write_text(ca.trust_pem)
    (folder / "tsig.key").write_text(SECRET)
    (folder / "tsig.key").chmod(0o600)
    pki = PkiFolder(folder=folder / "data" / "pki")
    pki.create(zone=ZONE, hosts=(LOOPBACK,), passphrase=None, now_s=int(time.time()))
    (folder / "otscert.toml").write_text(
        f"""
        data_dir = "data"
        public_url = "https://{LOOPBACK}:{device_port}"
        [zone]
        origin = "{ZONE}"
        name_servers = ["ns1.example.net"]
        check_servers = ["{LOOPBACK}:{nsd_port}"]
        [listen]
        device = ["{LOOPBACK}:{device_port}"]
        dns = ["{LOOPBACK}:{dns_port}"]
        [issuer.scripted]
        directory_url = "{ca.directory_url}"
        trust_file = "ca.pem"
        terms_agreed = true
        [model.box]
        policies = ["open"]
        computed_names = false
        [tsig.otscert]
        secret_file = "tsig.key"
        [secondary.nsd]
        servers = ["{LOOPBACK}:{nsd_port}"]
        key = "otscert"
        """
    )
    return pki


async def started(folder: Path) -> asyncio.subprocess.Process:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OTSCERT_")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "otscert", "serve", "--json"),
        cwd=folder,
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    json.loads(await asyncio.wait_for(process.stdout.readline(), DEADLINE_S))
    return process


async def killed(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()
    await asyncio.wait_for(process.wait(), DEADLINE_S)


async def issued(served: Any) -> None:
    async with open_session(served) as session, asyncio.timeout(DEADLINE_S):
        box = Box(hq=served, session=session)
        await box.admit()
        while (await box.poll()).message["status"] != "issued":
            pass  # HQ holds each poll until something has happened


async def serial_at(port: int) -> int:
    query = dns.message.make_query(ZONE, "SOA")
    async with asyncio.timeout(DEADLINE_S):
        while True:
            try:
                answer = await dns.asyncquery.udp(query, LOOPBACK, port=port, timeout=1)
                return int(answer.answer[0][0].serial)
            except (dns.exception.DNSException, IndexError, OSError):
                await asyncio.sleep(0.05)


async def test_nsd_takes_new_challenges_after_hq_was_killed(tmp_path: Path) -> None:
    device_port, dns_port, nsd_port = free_port(), free_port(), free_port()
    async with start_scripted_ca(dns_server=(LOOPBACK, nsd_port)) as ca, AsyncExitStack() as stack:
        pki = configure(tmp_path, ca=ca, device_port=device_port, dns_port=dns_port, nsd_port=nsd_port)
        served = SimpleNamespace(url=f"https://{LOOPBACK}:{device_port}", roots_pem=pki.root_pem.read_bytes())
        process = await started(tmp_path)
        try:
            nsd = nsd_secondary(tmp_path / "nsd", zone=ZONE, port=nsd_port, primary_port=dns_port, secret=SECRET)
            await asyncio.to_thread(nsd.__enter__)
            stack.callback(nsd.__exit__, None, None, None)
            await issued(served)
            before = await serial_at(dns_port)
            await killed(process)
            process = await started(tmp_path)
            after = await serial_at(dns_port)
            assert is_ahead(after, before)
            await issued(served)
            assert is_ahead(await serial_at(nsd_port), before)
        finally:
            await killed(process)
