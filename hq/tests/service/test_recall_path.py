"""Recalls, the operator's and the CA's: the box hears of it, goes before others, and what it replaced is revoked."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hq.tests.service.conftest import SetStage, Stage
from hq.tests.store.rows import certificate, device, fill, order

from otscert.domain.budget import Rank
from otscert.domain.order import OrderState
from otscert.domain.recall import CrlReason, Where
from otscert.service import incidents
from otscert.service.ari import AskingWhen
from otscert.service.revocations import Revoking
from otscert.service.revoke_now import Revoked, revoke_now
from otscert.service.upkeep import Upkeep
from otscert.store.incidents import Incident
from otscert.store.transaction import Transaction
from tests.harness.box import Box, leaf_sha256
from tests.harness.hq import DAY_S, LOOPBACK, TestClock
from tests.harness.ports import free_port
from tests.harness.scene import Scene
from tests.scripted_ca import Script, start_scripted_ca

HOUR_S = 3600


async def issued(box: Box) -> str:
    """Wait for the box's certificate; returns its fingerprint."""
    reply = await box.poll()
    assert reply.message["status"] == "issued", reply.message
    return leaf_sha256(reply.message["chain"])


async def served_box(scene: Scene) -> tuple[Box, str]:
    """A box with its certificate, which it serves."""
    box = scene.box()
    await box.admit()
    sha256 = await issued(box)
    await box.check_in(served_sha256=sha256)
    return box, sha256


async def renewed(box: Box) -> str:
    (await box.renew()).granted()
    return await issued(box)


async def told(box: Box, served: str) -> tuple[list[str], Any]:
    """The commands with their reasons, and in how many seconds the box is to call again."""
    answer = (await box.check_in(served_sha256=served)).message
    return [f"{command['name']}: {command['reason']}" for command in answer["commands"]], answer["next_checkin_s"]


async def recall(scene: Scene, where: Where, revoke: CrlReason | None = None) -> Incident:
    """What `otscert reissue` does."""

    def mark(transaction: Transaction) -> Incident:
        now_s = scene.hq.hq.now_s()
        begun = incidents.begin(
            transaction, where, revoke=revoke, reason="keys leaked", now_s=now_s, new_id=lambda: "incident"
        )
        incident: Incident | None = begun.incident
        while incident is not None and incident.marked_s is None:
            incident = incidents.mark_page(transaction, begun.incident.id, (), now_s=now_s)
        assert incident is not None
        return incident

    return await scene.hq.store.write(mark)


async def incident_of(scene: Scene) -> Incident:
    found = await scene.hq.store.read(lambda transaction: transaction.incidents.get("incident"))
    assert found is not None
    return found


def upkeep(scene: Scene) -> Upkeep:
    return Upkeep(hq=scene.hq.hq, store=scene.hq.store, signals=scene.hq.signals)


def revoking(scene: Scene) -> Revoking:
    return Revoking(hq=scene.hq.hq, store=scene.hq.store, revokers={"scripted": scene.hq.issuer})


async def last_rank(scene: Scene) -> Rank:
    ((rank,),) = await scene.hq.rows("SELECT rank FROM cert_order ORDER BY created_at_s DESC, rowid DESC LIMIT 1")
    return Rank(rank)


async def test_a_recalled_certificate_is_replaced_at_the_next_call_and_revoked_after_the_new_one_is_served(
    stage: SetStage,
) -> None:
    setting = await stage()
    async with setting.hq() as scene:
        box, old = await served_box(scene)
        assert await told(box, old) == ([], pytest.approx(20_500, abs=1200))
        assert await last_rank(scene) is Rank.STRANGER  # its first: the model lets everybody in
        marked = await recall(scene, Where(model="box"), CrlReason.SUPERSEDED)
        assert (marked.count, marked.left) == (1, 1)
        (command,), next_s = await told(box, old)
        assert command == "renew: HQ's operator wants it replaced now: keys leaked"
        assert next_s <= 60
        new = await renewed(box)
        assert await last_rank(scene) is Rank.INCIDENT
        # Not served yet: nothing is revoked, the incident waits.
        await upkeep(scene).once()
        assert await revoking(scene).once() == 0
        assert (await incident_of(scene)).left == 1
        assert await told(box, new) == ([], pytest.approx(20_500, abs=1200))  # as before
        assert (await incident_of(scene)).replaced == 1
        assert await revoking(scene).once() == 1
        (revoked,) = setting.ca.ledger.of("revoked")
        assert revoked.serial == (await scene.hq.rows("SELECT serial FROM certificate WHERE sha256 = ?", old))[0][0]
        await upkeep(scene).once()
        assert (await incident_of(scene)).ended_s is not None
        assert "incident.ended" in await scene.hq.event_kinds()


async def test_a_box_that_ignores_a_recall_is_let_be_when_the_incident_ends(stage: SetStage) -> None:
    setting = await stage()
    async with setting.hq() as scene:
        box, served = await served_box(scene)
        await recall(scene, Where(model="box"))
        scene.hq.clock.ahead_s = HOUR_S
        commands, next_s = await told(box, served)
        assert (len(commands), next_s) == (1, pytest.approx(171, abs=9))  # a twentieth of the hour
        await scene.hq.store.write(lambda transaction: incidents.end(transaction, "incident", now_s=1, by_itself=False))
        assert await told(box, served) == ([], pytest.approx(20_500, abs=1200))
        assert await scene.hq.rows("SELECT count(*) FROM certificate WHERE recall IS NOT NULL") == [(1,)]
        await upkeep(scene).once()
        assert await scene.hq.rows("SELECT count(*) FROM certificate WHERE recall IS NOT NULL") == [(0,)]
        assert (await incident_of(scene)).left == 1


async def test_an_incident_does_not_wait_for_what_ends_by_itself_or_with_its_box(stage: SetStage) -> None:
    setting = await stage()
    async with setting.hq() as scene:
        _, first = await served_box(scene)
        await served_box(scene)
        await recall(scene, Where(model="box"), CrlReason.SUPERSEDED)

        def retire(transaction: Transaction) -> None:
            found = transaction.certificates.get(first)
            assert found is not None
            transaction.certificates.replace_all(found.device_id)

        await scene.hq.store.write(retire)
        worker = upkeep(scene)
        await worker.once()
        assert ((await incident_of(scene)).released, (await incident_of(scene)).left) == (1, 1)
        scene.hq.clock.ahead_s = 91 * DAY_S
        await worker.once()
        await worker.once()
        over = await incident_of(scene)
        assert (over.released, over.left, over.ended_s is not None) == (2, 0, True)
        assert await scene.hq.count("revocation") == 1  # of the retired one; the other had ended


async def test_a_compromised_key_is_revoked_at_once_and_its_box_makes_another(stage: SetStage) -> None:
    setting = await stage()
    async with setting.hq() as scene:
        box, old = await served_box(scene)

        def revoke(transaction: Transaction) -> Revoked:
            found = transaction.incidents.of_certificate(old)
            assert found is not None
            return revoke_now(
                transaction,
                [found],
                reason=CrlReason.KEY_COMPROMISE,
                why="leaked",
                now_s=scene.hq.hq.now_s(),
                new_id=lambda: "incident",
            )

        await scene.hq.store.write(revoke)
        assert await revoking(scene).once() == 1
        assert len(setting.ca.ledger.of("revoked")) == 1
        assert next(iter(setting.ca.state.issued)).revoked == 1
        (command,), _ = await told(box, old)
        assert "leaked" in command
        new = await renewed(box)
        keys = await scene.hq.rows("SELECT spki_sha256 FROM certificate ORDER BY issued_at_s")
        assert len(set(keys)) == 2
        await told(box, new)
        await upkeep(scene).once()
        assert (await incident_of(scene)).ended_s is not None
        assert len(setting.ca.ledger.of("revoked")) == 1
        assert "key.compromised" in await scene.hq.event_kinds()


@pytest.mark.parametrize(
    ("days", "rank"), [(1, Rank.ROUTINE), (31, Rank.ROUTINE), (40, Rank.EXPIRING), (50, Rank.EXPIRING)]
)
async def test_an_order_has_the_rank_of_its_moment_and_a_box_that_was_away_gets_one_at_once(
    stage: SetStage, days: int, rank: Rank
) -> None:
    """Nobody orders for a box that is away; it is told at its first call. Of its 45 days, 15 are the last third."""
    setting = await stage()
    async with setting.hq() as scene:
        box, served = await served_box(scene)
        scene.hq.clock.ahead_s = days * DAY_S
        await upkeep(scene).once()
        assert await scene.hq.count("cert_order") == 1
        commands, _ = await told(box, served)
        assert len(commands) == (0 if days == 1 else 1)
        await renewed(box)
        assert await last_rank(scene) is rank


async def test_orders_that_wait_while_their_certificate_nears_its_end_go_first(stage: SetStage) -> None:
    """The first box's certificate is late on day 75, the second one's on day 85; the third has none yet."""
    setting = await stage()
    async with setting.hq(ca=None) as scene:
        start_s = scene.hq.hq.now_s()

        def add(transaction: Transaction) -> None:
            for number, end_days in ((1, 90), (2, 100)):
                values = {"not_before_s": start_s + (end_days - 90) * DAY_S, "not_after_s": start_s + end_days * DAY_S}
                fill(
                    transaction,
                    device(number),
                    order(number, device_id=f"d{number}", state=OrderState.ISSUED),
                    certificate(number, device_id=f"d{number}", issued_at_s=start_s, **values),
                    order(number + 10, device_id=f"d{number}", rank=Rank.ROUTINE, waits_for="ca orders-per-account"),
                )
            fill(transaction, device(3), order(13, device_id="d3", rank=Rank.STRANGER))

        await scene.hq.store.write(add)
        worker = upkeep(scene)
        ranks = []
        for day in (74, 76, 84, 86):
            scene.hq.clock.ahead_s = day * DAY_S
            await worker.once()
            rows = await scene.hq.rows("SELECT rank FROM cert_order WHERE state = 'waiting' ORDER BY id")
            ranks.append([Rank(row[0]).name for row in rows])
        assert ranks == [
            ["ROUTINE", "ROUTINE", "STRANGER"],
            ["EXPIRING", "ROUTINE", "STRANGER"],
            ["EXPIRING", "ROUTINE", "STRANGER"],
            ["EXPIRING", "EXPIRING", "STRANGER"],
        ]


# ---- a clock of our own for HQ and CA


@asynccontextmanager
async def virtual(tmp_path: Path, script: Script) -> AsyncIterator[tuple[Scene, Stage]]:
    """HQ and a CA whose certificates go by HQ's clock."""
    clock, port = TestClock(), free_port()
    async with start_scripted_ca(script, dns_server=(LOOPBACK, port), clock=lambda: clock.now_ms() / 1000) as ca:
        setting = Stage(ca, tmp_path, port)
        async with setting.hq(clock=clock) as scene:
            yield scene, setting


async def ask(scene: Scene) -> None:
    """HQ asks the CA for the windows that it would have asked for by now."""
    worker = AskingWhen(hq=scene.hq.hq, store=scene.hq.store, sources={"scripted": scene.hq.issuer})
    while await worker.once():
        pass


@pytest.mark.timeout(120)
async def test_a_box_with_six_day_certificates_never_lapses_over_a_week_and_calls_a_bounded_number_of_times(
    tmp_path: Path,
) -> None:
    async with virtual(tmp_path, Script(profiles={"shortlived": 160 * HOUR_S})) as (scene, setting):
        box, served = await served_box(scene)
        calls, inside, ends = 0, 0, []
        begin_s = scene.hq.hq.now_s()
        next_s = 60
        while scene.hq.hq.now_s() < begin_s + 7 * DAY_S:
            scene.hq.clock.ahead_s += next_s
            now_s = scene.hq.hq.now_s()
            await ask(scene)
            ((start_s, end_s, not_after_s),) = await scene.hq.rows(
                "SELECT ari_start_s, ari_end_s, not_after_s FROM certificate WHERE sha256 = ?", served
            )
            assert now_s < not_after_s  # never lapsed
            commands, next_s = await told(box, served)
            calls += 1
            if commands:
                inside += start_s <= now_s <= end_s
                ends.append(now_s)
                served = await renewed(box)
        assert len(ends) == inside == 2  # one each 80 hours, all inside the CA's window of 3.2 hours
        assert calls <= 7 * 24 / 2.5
        exempt = [entry for entry in setting.ca.ledger.of("issued")[1:] if entry.replaces is None]
        assert exempt == []


@pytest.mark.timeout(120)
async def test_a_mass_revocation_is_over_at_the_next_calls_and_what_expires_first_goes_first(tmp_path: Path) -> None:
    """The CA moves every window into the past; one box is late besides, one is away and returns days later."""
    async with virtual(tmp_path, Script(profiles={"classic": 90 * DAY_S})) as (scene, setting):
        late, late_sha = await served_box(scene)
        scene.hq.clock.ahead_s = 60 * DAY_S  # the first box was away since
        others = [await served_box(scene) for _ in range(3)]
        scene.hq.clock.ahead_s = 76 * DAY_S
        await ask(scene)
        for box, sha in others:
            assert await told(box, sha) == ([], pytest.approx(20_500, abs=1200))
        setting.ca.move_window(-2 * HOUR_S, -HOUR_S)
        scene.hq.clock.ahead_s += DAY_S
        await ask(scene)
        ranks = []
        for (box, sha), why in zip(
            [*others[:2], (late, late_sha)], ["the CA wants it replaced now"] * 2 + ["it is late"], strict=True
        ):
            (command,), _ = await told(box, sha)
            assert why in command
            new = await renewed(box)
            ranks.append(await last_rank(scene))
            assert new != sha
        assert ranks == [Rank.INCIDENT, Rank.INCIDENT, Rank.EXPIRING]
        assert await scene.hq.count("cert_order") == 7  # nothing for the one that did not call
        setting.ca.move_window(20 * DAY_S, 21 * DAY_S)
        scene.hq.clock.ahead_s += 3 * DAY_S
        (command,), _ = await told(*others[2])
        assert "replaced now" in command
        await renewed(others[2][0])
        events: list[Any] = [kind for kind in await scene.hq.event_kinds() if kind == "renewal.incident"]
        assert len(events) == 3
