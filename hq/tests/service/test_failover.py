"""Two CAs: the first one dies or refuses at any step, the second one takes over, and the first one comes back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from hq.tests.service.conftest import SetStage, Stage

from otscert.domain.order import OrderState
from tests.harness.box import Box
from tests.harness.hq import DAY_S, ISSUER, LOOPBACK
from tests.harness.scene import Scene
from tests.scripted_ca import Fate, Script, ScriptedCa, start_scripted_ca
from tests.scripted_ca.ledger import Kind

DOWN = Script(fates=(Fate(on="*", form="drop", times=None),))
SECOND = "second"


class Two:
    """HQ with two issuers, and both CAs."""

    def __init__(self, stage: Stage, second: ScriptedCa) -> None:
        self.stage, self.first, self.second = stage, stage.ca, second

    @asynccontextmanager
    async def hq(self, **changes: Any) -> AsyncIterator[Scene]:
        async with self.stage.hq(more_cas={SECOND: self.second}, **changes) as scene:
            yield scene

    def count(self, kind: Kind) -> tuple[int, int]:
        """How often the first and the second CA did this."""
        return len(self.first.ledger.of(kind)), len(self.second.ledger.of(kind))


SetTwo = Callable[..., Any]


@pytest.fixture
async def two(stage: SetStage) -> AsyncIterator[SetTwo]:
    async with AsyncExitStack() as stack:

        async def set_two(first: Script | None = None, second: Script | None = None) -> Two:
            stage_set = await stage(first)
            dns = (LOOPBACK, stage_set.dns_port)
            return Two(stage_set, await stack.enter_async_context(start_scripted_ca(second, dns_server=dns)))

        yield set_two


async def until(scene: Scene, sql: str, *values: Any) -> list[tuple[Any, ...]]:
    """The rows, as soon as there are any."""
    async with asyncio.timeout(40):
        while not (rows := await scene.hq.rows(sql, *values)):  # noqa: ASYNC110 - looked at from outside
            await asyncio.sleep(0.01)
    return rows


async def step(scene: Scene, seconds: int) -> None:
    scene.hq.clock.ahead_s += seconds
    scene.hq.wake()


async def failed_runs(scene: Scene, count: int, *, every_s: int = 30) -> None:
    """Let time pass until the order's runs have failed so often, the one included that moved it."""
    for number in range(1, count + 1):
        await until(
            scene, "SELECT 1 FROM event WHERE kind IN ('order.waits', 'order.moved') LIMIT 1 OFFSET ?", number - 1
        )
        await step(scene, every_s)


async def issued(box: Box) -> str:
    reply = await box.poll(path="/device/v1/orders/" + box.order_url.rsplit("/", 1)[1])
    assert reply.message["status"] == "issued", reply.message
    return str(reply.message["chain"])


async def moves(scene: Scene) -> list[str]:
    return [row[0] for row in await scene.hq.rows("SELECT data FROM event WHERE kind = 'order.moved' ORDER BY id")]


@pytest.mark.parametrize(
    ("dying", "state"),
    [
        (DOWN, OrderState.CREATING),
        (Script(fates=(Fate(on="newOrder", form="drop", acts=True, times=None),)), OrderState.CREATING),
        (Script(fates=(Fate(on="authorization", status=500, times=None),)), OrderState.CREATED),
        (Script(fates=(Fate(on="challenge", form="html", status=503, times=None),)), OrderState.PUBLISHED),
    ],
    ids=["before newOrder", "its answer is lost", "after newOrder", "while it validates"],
)
async def test_the_second_issuer_takes_over_what_was_not_finalized(two: SetTwo, dying: Script, state: str) -> None:
    setting = await two(dying)
    async with setting.hq() as scene:
        box = scene.box()
        await box.admit()
        await until(scene, "SELECT 1 FROM event WHERE kind = 'order.waits'")
        assert await scene.hq.rows("SELECT state, issuer FROM cert_order") == [(state, ISSUER)]
        await failed_runs(scene, 3)
        await issued(box)
        (moved,) = await moves(scene)
        assert f'"from":"{ISSUER}","to":"{SECOND}"' in moved
        assert "has failed" in moved
        rows = await scene.hq.rows("SELECT issuer FROM certificate")
        assert rows == [(SECOND,)]
        assert await scene.hq.count("challenge_txt") == 0
    assert setting.count("issued") == (0, 1)
    assert setting.count("finalize") == (0, 1)


async def test_what_was_finalized_is_waited_for_and_never_ordered_twice(two: SetTwo) -> None:
    setting = await two(Script(processing_s=1.0))
    async with setting.hq() as scene:
        box = scene.box()
        await box.admit()
        async with asyncio.timeout(30):
            while not setting.first.ledger.of("finalize"):  # noqa: ASYNC110 - the CA's own view
                await asyncio.sleep(0.005)
        setting.first.follow(DOWN)
        await failed_runs(scene, 8, every_s=1300)
        assert (await scene.hq.rows("SELECT state, issuer FROM cert_order")) == [(OrderState.FINALIZING, ISSUER)]
        setting.first.follow(Script())
        await step(scene, 1300)
        await issued(box)
        assert await moves(scene) == []
    assert setting.count("issued") == (1, 0)
    assert setting.count("newOrder") == (1, 0)


async def test_all_go_to_the_second_one_at_once_while_the_first_is_down_and_back_when_it_is_well(two: SetTwo) -> None:
    setting = await two(DOWN)
    async with setting.hq() as scene:
        box = scene.box()
        await box.admit()
        await failed_runs(scene, 3)
        await issued(box)
        # By now the first one is known to be down: nobody waits for it any more.
        await until(scene, "SELECT 1 FROM issuer WHERE name = ? AND failures >= 3", ISSUER)
        await scene.hq.store.write(
            lambda transaction: transaction._connection.execute(
                "UPDATE issuer SET failures = 9, open_until_s = ? WHERE name = ?", (scene.hq.hq.now_s() + 300, ISSUER)
            )
        )
        asked = setting.first.ledger.requests.total()
        second = scene.box()
        await second.admit()
        await issued(second)
        assert setting.first.ledger.requests.total() == asked
        # Well again, it is tried by the next order, and preferred from then on.
        setting.first.follow(Script())
        await step(scene, 301)
        for expected in (1, 2):
            third = scene.box()
            await third.admit()
            await issued(third)
            assert setting.count("issued") == (expected, 2)
        assert "issuer.well" in await scene.hq.event_kinds()
        (row,) = await scene.hq.rows("SELECT failures, open_until_s FROM issuer WHERE name = ?", ISSUER)
        assert row == (0, 0)
        # A box of the second one renews at the first one, and replaces nothing there.
        (await box.renew()).granted()
        await issued(box)
        assert setting.first.ledger.of("issued")[-1].replaces is None
    assert setting.count("issued") == (3, 2)


async def test_a_renewal_waits_for_the_preferred_issuer_as_long_as_there_is_time(two: SetTwo) -> None:
    setting = await two()
    async with setting.hq(checkin_s=60) as scene:
        box = scene.box()
        await box.admit()
        await issued(box)
        setting.first.follow(DOWN)
        await step(scene, 30 * DAY_S)
        (await box.renew()).granted()
        await failed_runs(scene, 4, every_s=400)
        assert await moves(scene) == []
        await step(scene, 15 * DAY_S - 2 * 3600)  # less than an hour of the old one's life is left
        await issued(box)
        assert len(await moves(scene)) == 1
    assert setting.count("issued") == (1, 1)


async def test_a_second_issuer_with_a_wrong_eab_key_stops_itself_alone(two: SetTwo) -> None:
    setting = await two(DOWN, Script(eab_keys={"kid": "c2VjcmV0"}))
    wrong = {SECOND: {"eab_kid": "kid", "eab_hmac_key": "d3Jvbmc"}}
    async with setting.hq(issuer_settings=wrong) as scene:
        box = scene.box()
        await box.admit()
        await failed_runs(scene, 2, every_s=70)
        rows = await until(scene, "SELECT account_problem, account_reason FROM issuer WHERE account_problem <> ''")
        assert [row[0] for row in rows] == ["refused"]
        assert "external account binding" in rows[0][1]
        assert (await scene.hq.event_kinds()).count("issuer.account") == 1
        setting.first.follow(Script())
        for _ in range(8):
            await step(scene, 900)
            await asyncio.sleep(0.1)
        await issued(box)
        assert setting.second.ledger.requests["newAccount"] < 20
    assert setting.count("issued") == (1, 0)


@pytest.mark.parametrize(
    ("refusal", "name"),
    [("rejectedIdentifier", SECOND), ("caa", SECOND), ("malformed", ISSUER)],
)
async def test_what_one_refuses_for_good_the_next_one_is_asked(two: SetTwo, refusal: str, name: str) -> None:
    setting = await two(Script(fates=(Fate(on="newOrder", status=403, type=refusal, times=None),)))
    async with setting.hq() as scene:
        box = scene.box()
        await box.admit()
        reply = await box.poll(path="/device/v1/orders/" + box.order_url.rsplit("/", 1)[1])
        assert reply.message["status"] == ("issued" if name == SECOND else "failed")
        assert await scene.hq.rows("SELECT issuer FROM cert_order") == [(name,)]


async def test_an_order_that_all_refuse_ends(two: SetTwo) -> None:
    refuses = Script(fates=(Fate(on="newOrder", status=403, type="rejectedIdentifier", times=None),))
    setting = await two(refuses, refuses)
    async with setting.hq() as scene:
        box = scene.box()
        await box.admit()
        reply = await box.poll(path="/device/v1/orders/" + box.order_url.rsplit("/", 1)[1])
        assert reply.message["status"] == "failed"
    assert setting.first.ledger.requests["newOrder"] == setting.second.ledger.requests["newOrder"] == 1


@pytest.mark.parametrize("mistake", ["another key", "other names"])
async def test_a_wrong_certificate_ends_the_order_and_counts_against_its_issuer(two: SetTwo, mistake: Any) -> None:
    setting = await two(Script(mistake=mistake))
    async with setting.hq() as scene:
        box = scene.box()
        await box.admit()
        reply = await box.poll(path="/device/v1/orders/" + box.order_url.rsplit("/", 1)[1])
        assert reply.message["status"] == "failed"
        assert mistake in reply.message["why"]
        assert await scene.hq.rows("SELECT name, failures FROM issuer") == [(ISSUER, 1)]
    assert setting.count("newOrder") == (1, 0)  # it was issued: the box makes a new key, and asks again


async def test_an_issuer_that_was_taken_out_gives_its_orders_to_the_other(two: SetTwo) -> None:
    setting = await two(Script(fates=(Fate(on="authorization", status=500, times=None),)))
    async with setting.hq() as scene:
        box = scene.box()
        await box.admit()
        await until(scene, "SELECT 1 FROM event WHERE kind = 'order.waits'")
        await scene.hq.store.write(
            lambda transaction: transaction._connection.execute("UPDATE cert_order SET issuer = 'gone'")
        )
        await step(scene, 30)
        setting.first.follow(Script())
        await issued(box)
        assert '"from":"gone"' in (await moves(scene))[0]


@pytest.mark.parametrize("retry_after", ["1000000000000", "604800", None])
async def test_an_order_that_a_limit_would_hold_for_long_goes_to_the_next_issuer(
    two: SetTwo, retry_after: str | None
) -> None:
    limited = Fate(on="newOrder", status=429, type="rateLimited", retry_after=retry_after, times=None)
    setting = await two(Script(fates=(limited,)))
    async with setting.hq() as scene:
        for expected in (1, 2):
            box = scene.box()
            await box.admit()
            await issued(box)
            assert setting.count("issued") == (0, expected)
        assert setting.first.ledger.requests["newOrder"] == 1  # the second box was not even sent there
        assert await scene.hq.rows("SELECT failures FROM issuer WHERE name = ?", ISSUER) == []


async def test_a_directory_without_new_order_is_a_fault_of_the_issuer_and_is_named(two: SetTwo) -> None:
    setting = await two(Script(leave_out=("newOrder",)))
    async with setting.hq() as scene:
        box = scene.box()
        await box.admit()
        await until(scene, "SELECT 1 FROM event WHERE kind = 'order.waits'")
        ((reason,),) = await scene.hq.rows("SELECT reason FROM cert_order")
        assert "lacks newOrder" in reason
        assert await scene.hq.rows("SELECT failures FROM issuer WHERE name = ?", ISSUER) == [(1,)]
        await failed_runs(scene, 3)
        await issued(box)
    assert setting.count("issued") == (0, 1)
