"""A real HQ (`otscert serve`) is scraped over HTTP while boxes enrol at it; what it tells is what happened."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from otscert.pki.files import PkiFolder
from tests.harness.box import Box, open_session
from tests.harness.ports import free_port
from tests.scripted_ca import ScriptedCa, start_scripted_ca

ROOT = Path(__file__).resolve().parent.parent
HOST = "127.0.0.1"
BOXES = 4
DEADLINE_S = 30.0
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """HQ as boxes and Prometheus see it."""

    url: str
    roots_pem: bytes
    metrics: str


@asynccontextmanager
async def serving(folder: Path, ca: ScriptedCa, dns_port: int) -> AsyncIterator[Served]:
    device_port = free_port()
    (folder / "ca.pem").write_text(ca.trust_pem)
    (folder / "tsig.key").write_text(base64.b64encode(bytes(32)).decode())
    (folder / "tsig.key").chmod(0o600)
    pki = PkiFolder(folder=folder / "data" / "pki")
    pki.create(zone="boxes.example.com", hosts=(HOST,), passphrase=None, now_s=int(time.time()))
    (folder / "otscert.toml").write_text(
        f"""
        data_dir = "data"
        public_url = "https://{HOST}:{device_port}"
        [zone]
        origin = "boxes.example.com"
        server_addresses = {{ "ns1.boxes.example.com" = ["{HOST}"] }}
        [listen]
        device = ["{HOST}:{device_port}"]
        dns = ["{HOST}:{dns_port}"]
        metrics = ["{HOST}:0"]
        [issuer.scripted]
        directory_url = "{ca.directory_url}"
        trust_file = "ca.pem"
        terms_agreed = true
        [model.box]
        policies = ["open"]
        computed_names = false
        [tsig.otscert]
        secret_file = "tsig.key"
        [secondary.fra]
        servers = ["{HOST}:{free_port()}"]
        key = "otscert"
        """
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "otscert",
        "serve",
        "--json",
        cwd=folder,
        env={name: value for name, value in os.environ.items() if not name.startswith("OTSCERT_")},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        ready = json.loads(await asyncio.wait_for(process.stdout.readline(), DEADLINE_S))
        ((host, port),) = ready["metrics"]
        url = f"https://{HOST}:{device_port}"
        yield Served(url=url, roots_pem=pki.root_pem.read_bytes(), metrics=f"http://{host}:{port}/metrics")
    finally:
        if process.returncode is None:
            process.terminate()
        await asyncio.wait_for(process.wait(), DEADLINE_S)


@pytest.fixture
async def hq(tmp_path: Path) -> AsyncIterator[Served]:
    dns_port = free_port()
    async with start_scripted_ca(dns_server=(HOST, dns_port)) as ca, serving(tmp_path, ca, dns_port) as served:
        yield served


async def page(hq: Served) -> str:
    async with aiohttp.ClientSession() as session, session.get(hq.metrics) as response:
        assert response.status == 200
        return await response.text()


def samples(text: str) -> Samples:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(found: Samples, name: str, **labels: str) -> float:
    return found[f"otscert_{name}", frozenset(labels.items())]


async def issued(hq: Any, session: aiohttp.ClientSession) -> None:
    box = Box(hq=hq, session=session)
    await box.admit()
    async with asyncio.timeout(DEADLINE_S):
        while (await box.poll()).message["status"] != "issued":
            pass  # HQ holds each poll until something has happened


async def test_what_is_told_is_what_happened(hq: Served) -> None:
    served: Any = hq
    began_s = time.time()
    before = samples(await page(hq))
    assert value(before, "issuance_duration_seconds_count") == 0
    async with open_session(served) as session:
        # Scraped all the time while boxes enrol: each page is whole, and none of the boxes notices.
        scraping = asyncio.gather(*(page(hq) for _ in range(20)))
        await asyncio.gather(*(issued(served, session) for _ in range(BOXES)))
        assert all(samples(text) for text in await scraping)
        rejected = await Box(hq=served, session=session, model="no-such-model").hello()
        assert rejected.status == 404
        found = samples(await page(hq))
        assert value(found, "device_connections") >= 1
    # What the process counts is there at once.
    assert value(found, "messages_total", message="hello", outcome="ok") == BOXES
    assert value(found, "messages_total", message="hello", outcome="unknown-model") == 1
    assert value(found, "messages_total", message="enroll", outcome="ok") == BOXES
    assert value(found, "messages_total", message="order", outcome="ok") >= BOXES
    assert value(found, "issuance_duration_seconds_count") == BOXES
    assert value(found, "issuance_duration_seconds_bucket", le="21600.0") == BOXES
    assert value(found, "ca_requests_total", issuer="scripted", outcome="2xx") >= 6 * BOXES
    assert value(found, "ca_requests_total", issuer="scripted", outcome="unreachable") == 0
    assert value(found, "dns_answers_total", type="TXT", rcode="NOERROR") >= BOXES
    assert began_s - 1 <= value(found, "zone_serial")
    # Nobody listens where the secondary would.
    behind = [seconds for (name, _), seconds in found.items() if name == "otscert_secondary_behind_seconds"]
    assert len(behind) == 1
    assert not [name for name, _ in found if name == "otscert_secondary_serial"]
    assert began_s - 1 <= value(found, "issuer_last_success_timestamp_seconds", issuer="scripted") <= time.time() + 1
    # What is counted from the store comes with its next count.
    group = {"state": "active", "model": "box", "policy": "open", "contribution": "open"}
    async with asyncio.timeout(DEADLINE_S):
        while ("otscert_devices", frozenset(group.items())) not in found or value(found, "devices", **group) < BOXES:
            await asyncio.sleep(0.2)
            found = samples(await page(hq))
    assert value(found, "devices", **group) == BOXES
    assert value(found, "certificates", state="current") == BOXES
    assert value(found, "certificates_ending", within_days="30") == 0
    assert value(found, "certificates_due", standing="due", box="calling") == 0
    assert value(found, "renewal_overdue_seconds") == 0
    assert value(found, "orders", state="waiting") == 0
    assert value(found, "events_total", kind="order.issued") == BOXES
    assert value(found, "events_total", kind="order.failed") == 0
    assert value(found, "store_up") == 1
    assert value(found, "database_size_bytes", file="wal") > 0
    assert value(found, "disk_free_bytes") > 0
    for name in ("tls", "answer", "root"):
        assert value(found, "hq_certificate_end_timestamp_seconds", certificate=name) > time.time() + 86_400


async def test_the_page_and_the_document_name_the_same_metrics(hq: Served) -> None:
    told = set(re.findall(r"^# TYPE (\S+) ", await page(hq), re.MULTILINE))
    document = (ROOT / "docs/metrics.md").read_text(encoding="utf-8")
    in_tables = re.findall(r"^\| `(otscert_[a-z_]+)`", document, re.MULTILINE)
    of_the_process = re.findall(r"`(process_[a-z_]+)`", document)
    assert sorted(told) == sorted([*in_tables, *of_the_process])
    labels = {
        name: set(
            re.findall(r"`([a-z_]+)`", cell.split("=")[0] if cell.count("`") == 2 else re.sub(r"= [^;|]*", "", cell))
        )
        for name, cell in re.findall(r"^\| `(otscert_[a-z_]+)` \|([^|]*)\|", document, re.MULTILINE)
    }
    for name, given in samples(await page(hq)):
        plain = name if name in labels else re.sub(r"_(bucket|count|sum)$", "", name)
        if plain.startswith("otscert_"):
            assert {label for label, _ in given} - {"le"} == labels[plain], name


async def test_openmetrics_is_spoken_to_those_who_ask_for_it(hq: Served) -> None:
    accept = {"Accept": "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"}
    async with aiohttp.ClientSession(headers=accept) as session, session.get(hq.metrics) as response:
        assert response.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
        assert (await response.text()).endswith("# EOF\n")
