"""HQ at a CA with rate limits: whose turn it is, what the CA sees, and that nobody fails because of a limit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from otscert.domain.limits import NONE_KNOWN, LimitKind, Limits
from otscert.domain.quota import Quota
from tests.harness.box import open_session
from tests.harness.hq import LOOPBACK, TOKEN, HqOptions, TestClock, run_hq
from tests.harness.ports import free_port
from tests.harness.scene import Scene
from tests.scripted_ca import Limits as CaLimits
from tests.scripted_ca import Script, ScriptedCa, start_scripted_ca

TEN_IN_THREE_HOURS = Quota(count=10, period_s=10_800)
INTERVAL_S = 1080
_WITHIN_S = 30.0


def allowing(kind: LimitKind, quota: Quota) -> Limits:
    return NONE_KNOWN.with_quotas({kind: quota})


@asynccontextmanager
async def on_stage(folder: Path, script: Script, limits: Limits) -> AsyncIterator[tuple[Scene, ScriptedCa]]:
    """HQ and a CA that go by the same clock, which the test moves."""
    clock, port = TestClock(), free_port()
    now_s = lambda: clock.now_ms() / 1000  # noqa: E731 - the CA's clock is a function
    async with start_scripted_ca(script, dns_server=(LOOPBACK, port), clock=now_s) as ca:
        options = HqOptions(folder=folder, ca=ca, dns_port=port, clock=clock, limits=limits)
        async with run_hq(options) as hq, open_session(hq) as session:
            yield Scene(hq=hq, session=session), ca


async def settled(scene: Scene) -> list[tuple[int, str, str]]:
    """Rank, state and reason of each order, once nothing is under way any more: all have ended or wait."""
    async with asyncio.timeout(_WITHIN_S):
        while True:
            rows = await scene.hq.rows("SELECT rank, state, reason, waits_for, lease_by FROM cert_order ORDER BY rank")
            # An order that is queued is leased for as long as it takes to see that it must wait.
            if all(state in {"issued", "failed"} or (waits and not lease) for _, state, _, waits, lease in rows):
                return [(row[0], row[1], row[2]) for row in rows]
            await asyncio.sleep(0.02)


async def issued(scene: Scene) -> int:
    return sum(state == "issued" for _, state, _ in await settled(scene))


async def reach(scene: Scene, count: int, seconds: int) -> None:
    """Let time pass once, and wait until so many certificates are there."""
    scene.hq.clock.ahead_s += seconds
    scene.hq.wake()
    async with asyncio.timeout(_WITHIN_S):
        while await issued(scene) < count:  # noqa: ASYNC110 - rows of a database are no event
            await asyncio.sleep(0.02)


async def reach_slowly(scene: Scene, count: int, step_s: int) -> int:
    """Let time pass in steps until so many certificates are there; returns how many steps it took."""
    steps = 0
    async with asyncio.timeout(_WITHIN_S):
        while await issued(scene) < count:
            steps += 1
            scene.hq.clock.ahead_s += step_s
            scene.hq.wake()
            await asyncio.sleep(0.05)
    return steps


async def test_thirty_boxes_at_ten_in_three_hours_go_by_rank_and_the_ca_never_refuses(tmp_path: Path) -> None:
    script = Script(processing_polls=0, limits=CaLimits(orders_per_account=(10, 10_800)))
    limits = allowing(LimitKind.ORDERS_PER_ACCOUNT, TEN_IN_THREE_HOURS)
    async with on_stage(tmp_path, script, limits) as (scene, ca):
        for _ in range(18):
            await scene.box().admit()
        boxes = [scene.box(model="token-box") for _ in range(12)]
        for box in boxes:
            await box.hello()
            (await box.enroll(token_proof=box.token_proof(TOKEN))).granted()
        rows = await settled(scene)
        assert [state for _, state, _ in rows].count("issued") == 9
        waiting = [reason for rank, state, reason in rows if state == "waiting" and rank == 3]
        assert "the CA allows 10 new orders in 3 hours" in waiting[0]
        assert "before this one, its turn is at about" in waiting[-1]
        reply = await boxes[-1].poll()
        assert reply.message["status"] == "waiting"
        assert reply.message["why"].startswith("the CA allows 10 new orders in 3 hours")
        assert 0 < reply.message["retry_after_s"] <= 21_600

        went = []
        for count in range(12, 31, 3):
            await reach(scene, count, 3 * INTERVAL_S)
            went.append([rank for rank, state, _ in await settled(scene) if state == "issued"])
        assert [len(ranks) for ranks in went] == list(range(12, 31, 3))
        # All boxes with a token before the next stranger, although those have waited longer.
        assert went[3] == [0] * 12 + [3] * 9
    assert ca.ledger.limited == {}
    assert len(ca.ledger.of("issued")) == 30


async def test_a_ca_that_allows_less_than_hq_believes_parks_and_nobody_fails(tmp_path: Path) -> None:
    script = Script(processing_polls=0, limits=CaLimits(orders_per_account=(3, 10_800)))
    limits = allowing(LimitKind.ORDERS_PER_ACCOUNT, TEN_IN_THREE_HOURS)
    async with on_stage(tmp_path, script, limits) as (scene, ca):
        for _ in range(8):
            await scene.box().admit()
        rows = await settled(scene)
        assert sorted(state for _, state, _ in rows) == ["issued"] * 3 + ["waiting"] * 5
        assert any("the CA has said" in reason and "too many new orders (3)" in reason for _, _, reason in rows)
        refused = ca.ledger.limited["orders"]
        scene.hq.clock.ahead_s += 60
        await scene.box().admit()  # whoever calls meanwhile waits without being refused by the CA
        await settled(scene)
        assert ca.ledger.limited["orders"] == refused
        steps = await reach_slowly(scene, 9, 3700)
        assert [state for _, state, _ in await settled(scene)] == ["issued"] * 9
        assert (await scene.hq.rows("SELECT max(attempt) FROM cert_order"))[0][0] == 0
    assert ca.ledger.limited["orders"] <= refused + 2 * steps


async def test_a_ca_of_which_nothing_is_known_is_asked_freely_and_obeyed(tmp_path: Path) -> None:
    script = Script(processing_polls=0, limits=CaLimits(orders_per_account=(4, 3600)))
    async with on_stage(tmp_path, script, NONE_KNOWN) as (scene, ca):
        for _ in range(10):
            await scene.box().admit()
        assert await issued(scene) == 4
        await reach_slowly(scene, 10, 950)
        assert "order.failed" not in await scene.hq.event_kinds()
    assert ca.ledger.limited["orders"] > 0


async def test_a_full_registered_domain_waits_and_names_that_had_one_do_not(tmp_path: Path) -> None:
    per_domain = CaLimits(certificates_per_domain=(3, 30_000))
    limits = allowing(LimitKind.CERTIFICATES_PER_DOMAIN, Quota(count=3, period_s=30_000))
    exempting = Limits(name="x", by_kind=limits.by_kind, per_second={}, renewals_exempt=True, same_names_exempt=True)
    async with on_stage(tmp_path, Script(processing_polls=0, limits=per_domain), exempting) as (scene, ca):
        first = scene.box()
        await first.admit()
        await settled(scene)
        for _ in range(3):
            await scene.box().admit()
        assert await issued(scene) == 2
        (await first.renew()).granted()  # the same names: it takes nothing of the domain's
        assert await issued(scene) == 3
        await reach(scene, 5, 20_000)
    assert ca.ledger.limited == {}


async def test_what_did_not_become_a_certificate_is_not_missing_when_dns_works_again(tmp_path: Path) -> None:
    broken = {"type": "urn:ietf:params:acme:error:dns", "detail": "no TXT record", "status": 400}
    limits = allowing(LimitKind.CERTIFICATES_PER_DOMAIN, Quota(count=4, period_s=604_800)).with_quotas(
        {LimitKind.FAILURES_PER_NAME: Quota(count=5, period_s=3600)}
    )
    script = Script(
        validation_problem=broken, limits=CaLimits(certificates_per_domain=(4, 604_800), failures_per_name=(5, 3600))
    )
    async with on_stage(tmp_path, script, limits) as (scene, ca):
        box = scene.box()
        await box.admit()
        for _ in range(30):
            scene.hq.clock.ahead_s += 120
            scene.hq.wake()
            await asyncio.sleep(0.05)
        full = await scene.hq.rows("SELECT tat_ms FROM bucket WHERE name LIKE '%certificates-per-domain%'")
        assert full[0][0] <= scene.hq.clock.now_ms()
        assert 2 <= len(ca.ledger.of("newOrder")) <= 4  # two at once, then one each 40 minutes
    assert ca.ledger.limited == {}
