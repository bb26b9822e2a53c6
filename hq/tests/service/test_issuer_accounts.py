"""Accounts that need a person, and accounts whose key changes while HQ orders."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hq.tests.service.conftest import SetStage, Stage

from otscert.acme.jws import AccountKey
from otscert.ca import CaError, new_account_key
from otscert.ca.account import change_key
from otscert.ca.client import AcmeClient
from otscert.ca.http import HttpSettings
from otscert.issuer_acts import IssuerActs, NotPossible
from otscert.issuers import ACCOUNT_KEY
from tests.harness.box import Box
from tests.harness.hq import ISSUER
from tests.harness.scene import Scene
from tests.scripted_ca import Fate, Script
from tests.scripted_ca.management import forget_accounts

PROBLEM = "SELECT account_problem, account_reason, account_link FROM issuer WHERE account_problem <> ''"


def acts(scene: Scene) -> IssuerActs:
    return IssuerActs(issuer=scene.hq.issuer_configs[ISSUER], store=scene.hq.store, seal=scene.hq.seal)


def now_s(scene: Scene) -> int:
    return scene.hq.hq.now_s()


async def issued(box: Box) -> None:
    reply = await box.poll(path="/device/v1/orders/" + box.order_url.rsplit("/", 1)[1])
    assert reply.message["status"] == "issued", reply.message


async def new_box_issued(scene: Scene) -> Box:
    box = scene.box()
    await box.admit()
    await issued(box)
    return box


async def problem(scene: Scene) -> tuple[Any, ...]:
    async with asyncio.timeout(40):
        while not (rows := await scene.hq.rows(PROBLEM)):  # noqa: ASYNC110 - looked at from outside
            await asyncio.sleep(0.01)
    return rows[0]


async def tried_again(scene: Scene) -> None:
    scene.hq.clock.ahead_s += 3600
    scene.hq.wake()


async def account_url(scene: Scene) -> str:
    return str((await scene.hq.rows("SELECT url FROM acme_account"))[0][0])


async def test_a_lost_account_is_an_event_and_no_other_one_is_registered(stage: SetStage) -> None:
    setting = await stage()
    async with setting.hq() as scene:
        await new_box_issued(scene)
        first = await account_url(scene)
        forget_accounts(setting.ca.state)
        box = scene.box()
        await box.admit()
        kind, reason, _ = await problem(scene)
        assert (kind, "account" in reason.lower()) == ("lost", True)
        for _ in range(3):
            await tried_again(scene)
            await asyncio.sleep(0.05)
        assert setting.ca.state.accounts == {}
        assert (await scene.hq.event_kinds()).count("issuer.account") == 1
        with pytest.raises(CaError, match="does not know the account"):  # nor by this command, unless it is told to
            await acts(scene).register(instead=False, by="me", now_s=now_s(scene))
        second = await acts(scene).register(instead=True, by="me", now_s=now_s(scene))
        assert second != first or len(setting.ca.state.accounts) == 1
        await tried_again(scene)
        await issued(box)  # the running HQ has found the new account by itself
        assert await scene.hq.rows(PROBLEM) == []
        kinds = await scene.hq.event_kinds()
        assert {"issuer.account_given_up", "issuer.registered"} <= set(kinds)
        assert f"accounturi={second}" in (await scene.hq.rows("SELECT value FROM caa_record"))[0][0]


async def test_changed_terms_stop_the_issuer_until_a_person_agrees(stage: SetStage) -> None:
    setting = await stage(Script(terms_changed=True))
    async with setting.hq() as scene:
        box = scene.box()
        await box.admit()
        kind, reason, link = await problem(scene)
        assert (kind, "Terms of service have changed" in reason) == ("terms", True)
        assert link.startswith(setting.ca.state.base_url)
        asked = setting.ca.ledger.requests["newOrder"]
        other = scene.box()
        await other.admit()
        waiting = (await other.poll()).message["why"]
        assert "needs a person (terms)" in waiting
        assert setting.ca.ledger.requests["newOrder"] == asked
        setting.ca.follow(Script())
        await acts(scene).agree(by="me", now_s=now_s(scene))
        await tried_again(scene)
        await issued(box)
        await issued(other)
        assert "issuer.agreed" in await scene.hq.event_kinds()


async def test_a_paused_name_shows_its_link_and_stops_nobody_else(stage: SetStage) -> None:
    setting = await stage(Script(accounts="paused"))
    async with setting.hq() as scene:
        box = scene.box()
        await box.admit()
        kind, reason, link = await problem(scene)
        assert kind == "paused"
        assert "/sfe/v1/unpause?jwt=ey" in link
        assert "jwt=" not in reason  # who reads logs, events or the box's page must not act for the account
        for (data,) in await scene.hq.rows("SELECT data FROM event"):
            assert "jwt=ey" not in data
        assert "jwt=" not in (await box.poll()).message["why"]
        setting.ca.follow(Script())
        await new_box_issued(scene)
        assert (await problem(scene))[0] == "paused"  # of the first box, still
        scene.hq.clock.ahead_s += 9 * 3600
        scene.hq.wake()
        await issued(box)
        assert await scene.hq.rows(PROBLEM) == []


async def test_a_closed_account_stops_the_issuer_and_is_tried_again(stage: SetStage) -> None:
    setting = await stage()
    async with setting.hq() as scene:
        await new_box_issued(scene)
        setting.ca.follow(Script(accounts="deactivated"))
        box = scene.box()
        await box.admit()
        assert (await problem(scene))[0] == "refused"
        setting.ca.follow(Script())
        await tried_again(scene)
        await issued(box)
        assert await scene.hq.rows(PROBLEM) == []


# ---- the account's key


async def test_the_key_changes_while_hq_orders(stage: SetStage) -> None:
    setting = await stage(Script(answer_delay_s=0.02))
    async with setting.hq() as scene:
        await new_box_issued(scene)
        before = await scene.hq.rows("SELECT url, key_sealed FROM acme_account")
        boxes = [scene.box() for _ in range(6)]
        for box in boxes:
            await box.admit()
        url = await acts(scene).roll_over(by="me", now_s=now_s(scene))
        for box in boxes:
            await issued(box)
        await new_box_issued(scene)
        ((after, sealed, following),) = await scene.hq.rows("SELECT url, key_sealed, next_key_sealed FROM acme_account")
        assert (after, following) == (url, None)
        assert before[0][0] == url
        assert sealed != before[0][1]
        assert "issuer.key_changed" in await scene.hq.event_kinds()
    assert len(setting.ca.ledger.of("keyChange")) == 1
    assert len(setting.ca.state.accounts) == 1
    assert len(setting.ca.ledger.of("issued")) == 8


async def begun(scene: Scene) -> bytes:
    """A roll-over that was killed right after the next key was on disk; returns that key."""
    pem = new_account_key()
    sealed = scene.hq.seal.close(pem, purpose=ACCOUNT_KEY)
    assert await scene.hq.store.write(lambda transaction: transaction.accounts.begin_key_change(ISSUER, sealed))
    return pem


async def told(scene: Scene, setting: Stage, pem: bytes) -> None:
    """... or after the CA was told, before that was on disk."""
    ((sealed, url),) = await scene.hq.rows("SELECT key_sealed, url FROM acme_account")
    old = AccountKey.from_pem(scene.hq.seal.open(sealed, purpose=ACCOUNT_KEY))
    http = HttpSettings(trust_file=scene.hq.issuer_configs[ISSUER].trust_file)
    client = AcmeClient(setting.ca.directory_url, old, http)
    try:
        await change_key(client, url, AccountKey.from_pem(pem))
    finally:
        await client.aclose()


@pytest.mark.parametrize("restarted", [False, True], ids=["the same HQ", "started again"])
@pytest.mark.parametrize("ca_knows", [False, True], ids=["before the CA was told", "after"])
async def test_after_a_kill_the_account_is_found_with_whichever_key_works(
    stage: SetStage, *, ca_knows: bool, restarted: bool
) -> None:
    setting = await stage()
    async with setting.hq() as scene:
        await new_box_issued(scene)
        pem = await begun(scene)
        if ca_knows:
            await told(scene, setting, pem)
        if not restarted:
            await new_box_issued(scene)
    async with setting.hq() as scene:
        await new_box_issued(scene)
        ((following,),) = await scene.hq.rows("SELECT next_key_sealed FROM acme_account")
        assert (following is None) is ca_knows  # who found it has written it down
        url = await acts(scene).roll_over(by="me", now_s=now_s(scene))
        await new_box_issued(scene)
        assert await account_url(scene) == url
    assert len(setting.ca.state.accounts) == 1
    assert len(setting.ca.ledger.of("keyChange")) == (2 if ca_knows else 1)
    assert "issuer.account" not in [entry.kind for entry in setting.ca.ledger.entries]


async def test_a_lost_answer_to_the_key_change_is_no_lost_account(stage: SetStage) -> None:
    setting = await stage()
    async with setting.hq() as scene:
        await new_box_issued(scene)
        setting.ca.follow(Script(fates=(Fate(on="keyChange", form="drop", acts=True, times=2),)))
        with pytest.raises(CaError):
            await acts(scene).roll_over(by="me", now_s=now_s(scene))
        await new_box_issued(scene)
        setting.ca.follow(Script())
        await acts(scene).roll_over(by="me", now_s=now_s(scene))
        await new_box_issued(scene)
    assert len(setting.ca.state.accounts) == 1


async def test_a_key_that_the_ca_has_taken_is_kept_though_it_refuses_the_change(stage: SetStage) -> None:
    """Asked again after a kill, while the first request was still on its way: by then the old key is nobody's."""
    setting = await stage()
    refused = Fate(on="keyChange", acts=True, status=403, type="unauthorized", detail="no such key")
    async with setting.hq() as scene:
        await new_box_issued(scene)
        setting.ca.follow(Script(fates=(refused,)))
        await acts(scene).roll_over(by="me", now_s=now_s(scene))
        assert await scene.hq.rows("SELECT next_key_sealed FROM acme_account") == [(None,)]
        await new_box_issued(scene)
    assert len(setting.ca.state.accounts) == 1


async def test_a_ca_that_changes_no_keys_leaves_the_old_one(stage: SetStage) -> None:
    setting = await stage(Script(leave_out=("keyChange",)))
    async with setting.hq() as scene:
        with pytest.raises(NotPossible, match="no account"):
            await acts(scene).roll_over(by="me", now_s=now_s(scene))
        await new_box_issued(scene)
        with pytest.raises(CaError, match="no keyChange"):
            await acts(scene).roll_over(by="me", now_s=now_s(scene))
        assert await scene.hq.rows("SELECT next_key_sealed FROM acme_account") == [(None,)]
        await new_box_issued(scene)


async def test_a_revocation_at_an_issuer_that_was_taken_out_says_so_and_waits_for_it(stage: SetStage) -> None:
    from otscert.service.revocations import Revoking  # noqa: PLC0415 - of this test alone

    setting = await stage()
    async with setting.hq() as scene:
        await new_box_issued(scene)
        ((sha256,),) = await scene.hq.rows("SELECT sha256 FROM certificate")
        at_s = now_s(scene)
        await scene.hq.store.write(lambda transaction: transaction.revocations.ask(sha256, reason=4, now_s=at_s))
        without = Revoking(hq=scene.hq.hq, store=scene.hq.store, revokers={})
        assert [await without.once() for _ in range(2)] == [1, 0]
        ((said, done),) = await scene.hq.rows("SELECT problem, done_at_s FROM revocation")
        assert f"put [issuer.{ISSUER}] back" in said
        assert done is None
        scene.hq.clock.ahead_s += 2 * 3600
        assert await Revoking(hq=scene.hq.hq, store=scene.hq.store, revokers={ISSUER: scene.hq.issuer}).once() == 1
        assert len(setting.ca.ledger.of("revoked")) == 1
