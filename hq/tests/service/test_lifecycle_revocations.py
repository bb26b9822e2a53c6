"""Certificates of names that were taken back are revoked at the CA, whatever the CA does meanwhile."""

from __future__ import annotations

import pytest
from hq.tests.service.conftest import SetStage

from otscert.domain.device import Retired
from otscert.service import lifecycle
from otscert.service.revocations import Revoking
from otscert.store.revocations import Outcome
from otscert.store.transaction import Transaction
from tests.harness.box import Box
from tests.harness.hq import DAY_S
from tests.harness.scene import Scene
from tests.scripted_ca import Fate, Script


async def retired_box(scene: Scene, *, revoke: bool = True) -> Box:
    """A box with a certificate whose name was taken back."""
    box = scene.box()
    await box.admit()
    assert (await box.poll()).message["status"] == "issued"

    def end(transaction: Transaction) -> None:
        (device,) = transaction.devices.page(after_id="", limit=2)
        lifecycle.end(transaction, device, Retired.REMOVED, revoke=revoke, now_s=scene.hq.hq.now_s())

    await scene.hq.store.write(end)
    return box


def revoking(scene: Scene) -> Revoking:
    return Revoking(hq=scene.hq.hq, store=scene.hq.store, revokers={"scripted": scene.hq.issuer})


async def outcome(scene: Scene) -> Outcome:
    ((sha256,),) = await scene.hq.rows("SELECT certificate_sha256 FROM revocation")
    found = await scene.hq.store.read(lambda transaction: transaction.revocations.outcome(sha256))
    assert found is not None
    return found


async def test_the_certificate_of_a_retired_box_is_revoked_once(stage: SetStage) -> None:
    setting = await stage()
    async with setting.hq() as scene:
        await retired_box(scene)
        worker = revoking(scene)
        assert [await worker.once() for _ in range(2)] == [1, 0]
        (revoked,) = setting.ca.ledger.of("revoked")
        ((serial,),) = await scene.hq.rows("SELECT serial FROM certificate")
        assert revoked.serial == serial
        assert next(iter(setting.ca.state.issued)).revoked == 5  # cessationOfOperation
        found = await outcome(scene)
        assert (found.problem, found.done_at_s is not None) == ("", True)
        assert (await scene.hq.event_kinds())[-1] == "certificate.revoked"


async def test_a_model_may_leave_certificates_to_end_by_themselves(stage: SetStage) -> None:
    setting = await stage()
    async with setting.hq() as scene:
        await retired_box(scene, revoke=False)
        assert await revoking(scene).once() == 0
        assert await scene.hq.rows("SELECT replaced FROM certificate") == [(1,)]


@pytest.mark.parametrize(
    "fate",
    [
        Fate(on="revokeCert", status=503),
        Fate(on="revokeCert", form="html", status=502),
        Fate(on="revokeCert", form="drop", times=2),  # a dead connection is tried once more at once
        Fate(on="revokeCert", status=429, type="rateLimited", retry_after="60"),
        Fate(on="revokeCert", status=403, type="userActionRequired", detail="agree to the new terms"),
    ],
)
async def test_a_ca_that_cannot_now_is_asked_again_later(stage: SetStage, fate: Fate) -> None:
    setting = await stage(Script(fates=(fate,)))
    async with setting.hq() as scene:
        await retired_box(scene)
        worker = revoking(scene)
        assert [await worker.once() for _ in range(2)] == [1, 0]
        found = await outcome(scene)
        assert found.done_at_s is None
        assert found.problem
        ((next_at_s, attempt),) = await scene.hq.rows("SELECT next_at_s, attempt FROM revocation")
        assert attempt == 1
        assert next_at_s - scene.hq.hq.now_s() >= (55 if fate.retry_after else 1)
        scene.hq.clock.ahead_s = 120
        assert await worker.once() == 1
        assert (await outcome(scene)).problem == ""
        assert len(setting.ca.ledger.of("revoked")) == 1


async def test_a_lost_answer_and_a_kill_after_it_cost_one_request(stage: SetStage) -> None:
    setting = await stage(Script(fates=(Fate(on="revokeCert", form="drop", acts=True, times=2),)))
    async with setting.hq() as scene:
        await retired_box(scene)
        worker = revoking(scene)
        assert await worker.once() == 1  # the CA revokes; nobody hears of it
        assert len(setting.ca.ledger.of("revoked")) == 1
        scene.hq.clock.ahead_s = 60
        assert await worker.once() == 1
        found = await outcome(scene)
        assert (found.problem, found.done_at_s is not None) == ("", True)
        assert (await scene.hq.event_kinds()).count("certificate.revoked") == 1


@pytest.mark.parametrize(
    "fate",
    [
        Fate(on="revokeCert", status=403, type="unauthorized", detail="it is another account's", times=None),
        Fate(on="revokeCert", status=400, type="badRevocationReason", times=None),
        Fate(on="revokeCert", status=404, type="malformed", detail="not of this CA", times=None),
    ],
)
async def test_what_the_ca_will_never_do_ends_with_an_event(stage: SetStage, fate: Fate) -> None:
    setting = await stage(Script(fates=(fate,)))
    async with setting.hq() as scene:
        await retired_box(scene)
        worker = revoking(scene)
        assert [await worker.once() for _ in range(2)] == [1, 0]
        found = await outcome(scene)
        assert found.done_at_s is not None
        assert fate.type in found.problem
        ((data,),) = await scene.hq.rows("SELECT data FROM event WHERE kind = 'revocation.failed'")
        assert fate.type in data
        assert setting.ca.ledger.of("revoked") == []


async def test_a_ca_without_revocation_is_not_asked_for_ever(stage: SetStage) -> None:
    setting = await stage(Script(leave_out=("revokeCert",)))
    async with setting.hq() as scene:
        await retired_box(scene)
        worker = revoking(scene)
        assert [await worker.once() for _ in range(2)] == [1, 0]
        assert "no revokeCert" in (await outcome(scene)).problem


async def test_a_certificate_that_has_ended_meanwhile_is_left_alone(stage: SetStage) -> None:
    setting = await stage(Script(fates=(Fate(on="revokeCert", status=503),)))
    async with setting.hq() as scene:
        await retired_box(scene)
        worker = revoking(scene)
        await worker.once()
        scene.hq.clock.ahead_s = 200 * DAY_S
        assert [await worker.once() for _ in range(2)] == [1, 0]
        assert "ended by itself" in (await outcome(scene)).problem
    assert setting.ca.ledger.of("revoked") == []


async def test_an_hq_that_was_killed_in_between_goes_on(stage: SetStage) -> None:
    setting = await stage()
    async with setting.hq() as scene:
        await retired_box(scene)
    async with setting.hq() as scene:
        assert await revoking(scene).once() == 1
        assert len(setting.ca.ledger.of("revoked")) == 1
