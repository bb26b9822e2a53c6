"""Several issuers with a CA that is not ours: Pebble, with external accounts, alternate chains and profiles."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest
from cryptography import x509

from otscert.acme.certificate import Chain
from otscert.issuer_acts import IssuerActs
from otscert.ops.pebble import Pebble
from tests.harness.box import Box, open_session
from tests.harness.hq import ISSUER, LOOPBACK, HqOptions, RunningHq, make_model, run_hq
from tests.harness.ports import free_port
from tests.harness.scene import Scene
from tests.scripted_ca import Fate, Script, ScriptedCa, start_scripted_ca

MAC_KEY = base64.urlsafe_b64encode(bytes(range(32))).rstrip(b"=").decode()
DOWN = Script(fates=(Fate(on="*", form="drop", times=None),))


@dataclass(frozen=True, kw_only=True)
class AsCa:
    """Pebble as the harness knows a CA."""

    directory_url: str
    trust_pem: str


def as_ca(pebble: Pebble) -> ScriptedCa:
    known: Any = AsCa(directory_url=pebble.directory_url, trust_pem=pebble.api_trust.read_text(encoding="ascii"))
    return cast("ScriptedCa", known)


async def certificate_of(box: Box) -> Chain:
    reply = await box.poll(path="/device/v1/orders/" + box.order_url.rsplit("/", 1)[1])
    assert reply.message["status"] == "issued", reply.message
    return Chain.parse(reply.message["chain"].encode())


async def failed_runs(hq: RunningHq, count: int) -> None:
    async with asyncio.timeout(40):
        for number in range(1, count + 1):
            while len(await hq.rows("SELECT id FROM event WHERE kind IN ('order.waits', 'order.moved')")) < number:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            hq.clock.ahead_s += 40
            hq.wake()


@pytest.mark.timeout(120)
async def test_pebble_with_external_accounts_takes_over_and_changes_its_key(
    pebble: Callable[..., Pebble], tmp_path: Path
) -> None:
    port = free_port()
    ca = pebble(dns_server=f"{LOOPBACK}:{port}", eab={"kid-1": MAC_KEY}, alternate_roots=2)
    roots = [x509.load_pem_x509_certificate(pem.encode()) for pem in ca.issuing_roots()]
    wanted = str(roots[2].subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value)
    (tmp_path / "hq").mkdir()
    async with start_scripted_ca(DOWN) as first:
        options = HqOptions(
            folder=tmp_path / "hq",
            ca=first,
            more_cas={"pebble": as_ca(ca)},
            issuer_settings={"pebble": {"eab_kid": "kid-1", "eab_hmac_key": MAC_KEY, "preferred_root": wanted}},
            models={"box": make_model(), "short": make_model("short", profile="shortlived")},
            dns_port=port,
        )
        async with run_hq(options) as hq, open_session(hq) as session:
            scene = Scene(hq=hq, session=session)
            box = scene.box(model="short")
            await box.admit()
            await failed_runs(hq, 2)
            chain = await certificate_of(box)
            assert chain.root == wanted
            life_s = (chain.leaf.not_after - chain.leaf.not_before).total_seconds()
            assert life_s == pytest.approx(160 * 3600, abs=2)
            acts = IssuerActs(issuer=hq.issuer_configs["pebble"], store=hq.store, seal=hq.seal)
            url = await acts.roll_over(by="me", now_s=hq.hq.now_s())
            await acts.agree(by="me", now_s=hq.hq.now_s())
            other = scene.box()
            await other.admit()
            await failed_runs(hq, 3)
            life_s = (await _validity(other)).total_seconds()
            assert life_s > 40 * 24 * 3600  # the issuer's own profile
            ((kept,),) = await hq.rows("SELECT url FROM acme_account WHERE issuer = 'pebble'")
            assert kept == url
            assert await hq.rows("SELECT issuer, count(*) FROM certificate GROUP BY issuer") == [("pebble", 2)]
            values = [row[0] for row in await hq.rows("SELECT value FROM caa_record WHERE issuer <> ?", ISSUER)]
            assert values == [f"pebble.letsencrypt.org; accounturi={url}; validationmethods=dns-01"]


async def _validity(box: Box) -> Any:
    leaf = (await certificate_of(box)).leaf
    return leaf.not_after - leaf.not_before
