"""A renewal says which certificate it replaces: by the CA's rules, dropped when refused, never lost or doubled."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from cryptography import x509
from hq.tests.service.conftest import SetStage, Stage

from otscert.acme.certificate import ari_id
from tests.harness.box import Box
from tests.harness.hq import DAY_S
from tests.harness.scene import Scene
from tests.scripted_ca import Fate, Script

NEWEST = "SELECT sha256 FROM certificate ORDER BY rowid DESC LIMIT 1"
OPENED_BY = 6
"""The step of HQ's worker by which the order's URL is on disk; `test_killed_orders` kills at the later ones."""


async def issued_box(scene: Scene) -> tuple[Box, str]:
    """A box with its first certificate, and that one's ARI id."""
    box = scene.box()
    await box.admit()
    return box, await finished(box)


async def finished(box: Box) -> str:
    reply = await box.poll(path="/device/v1/orders/" + box.order_url.rsplit("/", 1)[1])
    assert reply.message["status"] == "issued", reply.message
    found = ari_id(x509.load_pem_x509_certificates(reply.message["chain"].encode())[0])
    assert found is not None
    return found


async def test_each_renewal_replaces_the_one_before(stage: SetStage) -> None:
    setting = await stage()
    async with setting.hq() as scene:
        box, first = await issued_box(scene)
        (await box.renew()).granted()
        second = await finished(box)
        await box.check_in(served_sha256=(await scene.hq.rows(NEWEST))[0][0])
        (await box.renew()).granted()
        await finished(box)
    assert [entry.replaces for entry in setting.ca.ledger.of("issued")] == [None, first, second]


async def test_an_expired_certificate_is_not_replaced(stage: SetStage) -> None:
    setting = await stage()
    async with setting.hq() as scene:
        box, _ = await issued_box(scene)
        scene.hq.clock.ahead_s = 46 * DAY_S
        (await box.renew()).granted()
        await finished(box)
    assert [entry.replaces for entry in setting.ca.ledger.of("issued")] == [None, None]


async def test_another_box_is_no_predecessor_and_a_ca_without_ari_is_told_none(stage: SetStage) -> None:
    setting = await stage(Script(leave_out=("renewalInfo",)))
    async with setting.hq() as scene:
        box, _ = await issued_box(scene)
        await issued_box(scene)
        (await box.renew()).granted()
        await finished(box)
    assert [entry.replaces for entry in setting.ca.ledger.of("issued")] == [None, None, None]


@pytest.mark.parametrize(
    ("kind", "status"), [("alreadyReplaced", 409), ("malformed", 404), ("unauthorized", 403), ("conflict", 409)]
)
async def test_what_the_ca_does_not_take_as_a_replacement_is_ordered_without(
    stage: SetStage, kind: str, status: int
) -> None:
    setting = await stage(Script(fates=(Fate(on="newOrder", type=kind, status=status, skip=1),)))
    async with setting.hq() as scene:
        box, _ = await issued_box(scene)
        (await box.renew()).granted()
        await finished(box)
        assert (await scene.hq.event_kinds()).count("order.replaces_nothing") == 1
        assert "order.waits" not in await scene.hq.event_kinds()
        assert await scene.hq.rows("SELECT replaces FROM cert_order WHERE replaces IS NOT NULL") == []
    assert setting.ca.ledger.requests["newOrder"] == 3
    assert [entry.replaces for entry in setting.ca.ledger.of("issued")] == [None, None]


async def test_an_order_that_begins_again_replaces_the_same_certificate(stage: SetStage) -> None:
    """The CA's first order ends invalid: the next one says again what it replaces."""
    setting = await stage()
    async with setting.hq() as scene:
        box, first = await issued_box(scene)
        refused = {"type": "urn:ietf:params:acme:error:dns", "detail": "no answer", "status": 400}
        setting.ca.follow(Script(validation_problem=refused))
        (await box.renew()).granted()
        async with asyncio.timeout(10):
            while "order.waits" not in await scene.hq.event_kinds():  # noqa: ASYNC110 - a row is no event
                await asyncio.sleep(0.02)
        setting.ca.follow(Script())
        scene.hq.clock.ahead_s = 60
        scene.hq.wake()
        await finished(box)
    assert [entry.replaces for entry in setting.ca.ledger.of("newOrder")] == [None, first, first]


async def kill_and_resume(setting: Stage, lives: int) -> bool:
    """Renew with HQ killed before worker step `lives`; False when there were fewer steps than that."""
    folder = setting.folder / f"killed-at-{lives}"
    async with setting.hq(folder=folder) as scene:
        box, _ = await issued_box(scene)
    async with setting.hq(folder=folder, lives=lives) as scene:
        box.hq, box.session = scene.hq, scene.session
        (await box.renew()).granted()
        polling = asyncio.create_task(box.poll())
        dying = asyncio.create_task(scene.hq.mortal.died.wait())
        await asyncio.wait({polling, dying}, return_when=asyncio.FIRST_COMPLETED)
        killed = scene.hq.mortal.died.is_set()
        for task in (polling, dying):
            task.cancel()
        await asyncio.gather(polling, dying, return_exceptions=True)
    async with setting.hq(folder=folder) as scene:
        box.hq, box.session = scene.hq, scene.session
        async with asyncio.timeout(30):
            await finished(box)
        assert await scene.hq.count("certificate") == 2
    return killed


@pytest.mark.parametrize(
    "script", [Script(), Script(reuse_orders=False, list_orders=True)], ids=["reuses orders", "lists orders"]
)
async def test_a_killed_hq_neither_loses_nor_doubles_the_replacement(stage: SetStage, script: Script) -> None:
    """Every order that the CA issued replaces the box's first certificate, and there is one such order for each box."""
    setting = await stage(script)
    for lives in range(1, OPENED_BY + 1):
        assert await kill_and_resume(setting, lives)
    ledger = setting.ca.ledger
    ids = {ari_id(issued.certificate) for issued in setting.ca.state.issued[::2]}
    assert Counter(entry.replaces for entry in ledger.of("issued") if entry.replaces) == Counter(ids)
    assert Counter(entry.replaces for entry in ledger.of("newOrder") if entry.replaces) == Counter(ids)
    assert max(Counter(entry.spki_sha256 for entry in ledger.of("issued")).values()) == 1
