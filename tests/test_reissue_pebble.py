"""Recalls against Pebble: what it says of each certificate, before the new one is served and after."""

from __future__ import annotations

import asyncio
import json
import ssl
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest
from cryptography import x509

from otscert.domain.recall import CrlReason, Where
from otscert.ops.pebble import Pebble
from otscert.service import incidents
from otscert.service.revocations import Revoking
from otscert.service.revoke_now import revoke_now
from otscert.service.upkeep import Upkeep
from otscert.store.transaction import Transaction
from tests.harness.box import Box, leaf_sha256, open_session
from tests.harness.hq import LOOPBACK, HqOptions, RunningHq, run_hq
from tests.harness.ports import free_port
from tests.harness.scene import Scene
from tests.scripted_ca import ScriptedCa


@dataclass(frozen=True, kw_only=True)
class AsCa:
    """Pebble as the harness knows a CA."""

    directory_url: str
    trust_pem: str


def status(ca: Pebble, chain_pem: str) -> str:
    """What Pebble's management says of a chain's leaf."""
    serial = x509.load_pem_x509_certificates(chain_pem.encode())[0].serial_number
    context = ssl.create_default_context(cafile=str(ca.api_trust))
    url = f"https://localhost:{ca.management_port}/cert-status-by-serial/{serial:x}"
    with urllib.request.urlopen(url, context=context, timeout=5) as answer:
        return str(json.load(answer)["Status"])


async def reissue(hq: RunningHq) -> None:
    """`otscert reissue --where model=box --revoke superseded`."""

    def mark(transaction: Transaction) -> None:
        where, now_s = Where(model="box"), hq.hq.now_s()
        revoke = CrlReason.SUPERSEDED
        incidents.begin(transaction, where, revoke=revoke, reason="told", now_s=now_s, new_id=lambda: "i1")
        for _ in range(2):
            incidents.mark_page(transaction, "i1", (), now_s=now_s)

    await hq.store.write(mark)


async def chain_of(box: Box) -> str:
    reply = await box.poll()
    assert reply.message["status"] == "issued", reply.message
    return str(reply.message["chain"])


async def call(box: Box, chain_pem: str) -> list[str]:
    answer = (await box.check_in(served_sha256=leaf_sha256(chain_pem))).message
    return [command["name"] for command in answer["commands"]]


@pytest.mark.timeout(120)
async def test_what_a_recall_replaces_is_revoked_when_its_box_serves_the_new_one_and_a_leaked_key_at_once(
    pebble: Callable[..., Pebble], tmp_path: Path
) -> None:
    port = free_port()
    ca = pebble(dns_server=f"{LOOPBACK}:{port}")
    known: Any = AsCa(directory_url=ca.directory_url, trust_pem=ca.api_trust.read_text(encoding="ascii"))
    (tmp_path / "hq").mkdir()
    options = HqOptions(folder=tmp_path / "hq", ca=cast("ScriptedCa", known), dns_port=port)
    async with run_hq(options) as hq, open_session(hq) as session:
        revoking = Revoking(hq=hq.hq, store=hq.store, revokers={"scripted": hq.issuer})
        upkeep = Upkeep(hq=hq.hq, store=hq.store, signals=hq.signals)
        boxes = [Scene(hq=hq, session=session).box() for _ in range(2)]
        old = []
        for box in boxes:
            await box.admit()
            old.append(await chain_of(box))
            assert await call(box, old[-1]) == []
        await reissue(hq)
        new = []
        for box, served in zip(boxes, old, strict=True):
            assert await call(box, served) == ["renew"]
            (await box.renew()).granted()
            new.append(await chain_of(box))
        assert await call(boxes[0], new[0]) == []  # the other one has not said yet that it serves its new one
        await upkeep.once()
        assert await revoking.once() == 1
        said = await asyncio.to_thread(lambda: [status(ca, each) for each in (*old, *new)])
        assert said == ["Revoked", "Valid", "Valid", "Valid"]
        assert await call(boxes[1], new[1]) == []
        await upkeep.once()
        assert await revoking.once() == 1
        assert await asyncio.to_thread(status, ca, old[1]) == "Revoked"
        assert "incident.ended" in await hq.event_kinds()

        def leaked(transaction: Transaction) -> None:
            found = transaction.incidents.of_certificate(leaf_sha256(new[0]))
            assert found is not None
            reason, now_s = CrlReason.KEY_COMPROMISE, hq.hq.now_s()
            revoke_now(transaction, [found], reason=reason, why="leaked", now_s=now_s, new_id=lambda: "i2")

        await hq.store.write(leaked)
        assert await revoking.once() == 1
        said = await asyncio.to_thread(lambda: [status(ca, each) for each in new])
        assert said == ["Revoked", "Valid"]
        assert await call(boxes[0], new[0]) == ["renew"]
        assert await call(boxes[1], new[1]) == []
