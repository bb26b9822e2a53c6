"""Renewal by the CA's word against Pebble, not ours: its windows, forced ones, and what it says about `replaces`."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest
from cryptography import x509

from otscert.acme.certificate import ari_id
from otscert.acme.fault import Remedy
from otscert.ca import CaError, IssuerSettings, new_account_key, open_issuer
from otscert.ops.pebble import Pebble
from otscert.service.ari import AskingWhen
from tests.harness.box import leaf_sha256, open_session
from tests.harness.hq import LOOPBACK, HqOptions, RunningHq, run_hq
from tests.harness.ports import free_port
from tests.harness.scene import Scene
from tests.scripted_ca import ScriptedCa
from tests.scripted_ca.obtain import make_csr, obtain

NAMES = ["a.boxes.example", "*.a.boxes.example"]
EXPLANATION = "https://ca.example/incident"
Start = Callable[..., Pebble]


def force_window(ca: Pebble, chain_pem: str, *, start_s: float, end_s: float) -> None:
    """Have Pebble say this of the chain's first certificate; the times are from now."""
    now_s = time.time()
    window = {
        name: datetime.fromtimestamp(now_s + at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        for name, at_s in (("start", start_s), ("end", end_s))
    }
    said = json.dumps({"suggestedWindow": window, "explanationURL": EXPLANATION})
    leaf = chain_pem[: chain_pem.index("-----END CERTIFICATE-----")] + "-----END CERTIFICATE-----\n"
    body = json.dumps({"Certificate": leaf, "ARIResponse": said}).encode()
    url = f"https://localhost:{ca.management_port}/set-renewal-info/"
    request = urllib.request.Request(url, body)
    trust = ssl.create_default_context(cafile=str(ca.api_trust))
    with urllib.request.urlopen(request, timeout=10, context=trust) as answer:  # noqa: S310 - same
        assert answer.status == 200


async def test_pebble_finds_the_certificate_by_our_id_and_moves_its_window(pebble: Start) -> None:
    ca = pebble(always_valid=True)
    settings = IssuerSettings(name="pebble", directory_url=ca.directory_url, trust_file=ca.api_trust)
    async with open_issuer(settings, new_account_key()) as issuer:
        chain = await obtain(issuer, NAMES, make_csr(NAMES))
        assert chain.leaf.ari_id is not None
        advice = await issuer.renewal_info(chain.leaf.ari_id)
        assert chain.leaf.not_before.timestamp() < advice.info.start_s < advice.info.end_s
        assert advice.info.end_s < chain.leaf.not_after.timestamp() + 24 * 3600
        assert advice.retry_after_s == 21_600
        await asyncio.to_thread(force_window, ca, chain.pem, start_s=-7200, end_s=-3600)
        advice = await issuer.renewal_info(chain.leaf.ari_id)
        assert advice.info.end_s == pytest.approx(time.time() - 3600, abs=10)
        assert advice.info.explanation_url == EXPLANATION
        with pytest.raises(CaError):
            await issuer.renewal_info("AAAA.BBBB")


async def test_pebble_takes_a_replacement_once_and_refusals_are_known_as_such(pebble: Start) -> None:
    ca = pebble(always_valid=True)
    settings = IssuerSettings(name="pebble", directory_url=ca.directory_url, trust_file=ca.api_trust)
    async with open_issuer(settings, new_account_key()) as issuer:
        chain = await obtain(issuer, NAMES, make_csr(NAMES))
        await issuer.revoke(chain.ders[0], reason=4)  # as in an incident; it may be replaced still
        order = await issuer.open_order(NAMES, replaces=chain.leaf.ari_id)
        assert order.replaces == chain.leaf.ari_id
        for replaces in ("AAAA.BBBB", "no id"):
            with pytest.raises(CaError) as caught:
                await issuer.open_order(NAMES, replaces=replaces)
            assert caught.value.fault.remedy is Remedy.WITHOUT_REPLACES, caught.value


@dataclass(frozen=True, kw_only=True)
class AsCa:
    """Pebble as the harness knows a CA."""

    directory_url: str
    trust_pem: str


@pytest.mark.timeout(120)
async def test_a_window_moved_into_the_past_ends_with_a_replacement_that_pebble_knows(
    pebble: Start, tmp_path: Path
) -> None:
    """The whole path: the CA moves the window, the box hears it at its next call, its order says what it replaces."""
    port = free_port()
    ca = pebble(dns_server=f"{LOOPBACK}:{port}")
    known: Any = AsCa(directory_url=ca.directory_url, trust_pem=ca.api_trust.read_text(encoding="ascii"))
    (tmp_path / "hq").mkdir()
    options = HqOptions(folder=tmp_path / "hq", ca=cast("ScriptedCa", known), dns_port=port)
    async with run_hq(options) as hq, open_session(hq) as session:
        box = Scene(hq=hq, session=session).box()
        await box.admit()
        first = (await box.poll()).message["chain"]
        served = leaf_sha256(first)
        worker = AskingWhen(hq=hq.hq, store=hq.store, sources={"scripted": hq.issuer})
        await _ask_now(hq, worker)
        assert (await box.check_in(served_sha256=served)).message["commands"] == []
        await asyncio.to_thread(force_window, ca, first, start_s=-7200, end_s=-3600)
        await _ask_now(hq, worker)
        (command,) = (await box.check_in(served_sha256=served)).message["commands"]
        assert command["name"] == "renew"
        assert "lies in the past" in command["reason"]
        (await box.renew()).granted()
        second = (await box.poll()).message["chain"]
        assert (await box.check_in(served_sha256=leaf_sha256(second))).message["commands"] == []
        # Pebble counts the first one as replaced: an order that says so again is refused, and placed without.
        with pytest.raises(CaError) as caught:
            await hq.issuer.open_order(box.names, replaces=_ari_id(first))
        assert caught.value.fault.remedy is Remedy.WITHOUT_REPLACES
        assert caught.value.fault.problem is not None
        assert caught.value.fault.problem.name == "alreadyReplaced"
        assert "order.replaces_nothing" not in await hq.event_kinds()


async def _ask_now(hq: RunningHq, worker: AskingWhen) -> None:
    await hq.store.write(lambda transaction: transaction.certificates.ari_bring_back(from_s=0, now_s=0))
    assert await worker.once() >= 1


def _ari_id(chain_pem: str) -> str:
    found = ari_id(x509.load_pem_x509_certificates(chain_pem.encode())[0])
    assert found is not None
    return found
